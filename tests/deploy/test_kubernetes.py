"""The manifests are what Kubernetes, its operators and the forwarder accept."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from pydantic import BaseModel

from app.config.environment import variable_names
from app.config.settings import Settings
from app.store.keys import MOST_SLOTS
from tests.deploy.test_image import instruction
from tests.support.harness import settings_from
from tests.support.repository import ROOT
from tests.support.tools import output_of, tool

FOLDER: Final = ROOT / "deploy" / "kubernetes"
OVERLAYS: Final = ("single", "replicas")
OLDEST: Final = "1.27"  # older ones do not know unhealthyPodEvictionPolicy
LATEST: Final = "latest"

Manifest = dict[str, Any]


# Imported where they are used: they take as long as the collection of all other tests.


@cache
def operators() -> dict[str, type[BaseModel]]:
    """Return the models of KEDA's and Prometheus' own kinds."""
    keda = import_module("cloudcoil.models.keda.v1alpha1")
    prometheus = import_module("cloudcoil.models.prometheus_operator.v1")
    models = (keda.ScaledObject, keda.TriggerAuthentication, prometheus.ServiceMonitor, prometheus.PrometheusRule)
    return {model.__name__: model for model in models}


@cache
def rendered(overlay: str) -> list[Manifest]:
    return built(FOLDER / overlay)


def built(folder: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(output_of(tool("kubectl"), "kustomize", folder)))


def only(overlay: str, kind: str) -> Manifest:
    [found] = [manifest for manifest in rendered(overlay) if manifest["kind"] == kind]
    return found


def pod(overlay: str) -> Manifest:
    spec: Manifest = only(overlay, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(overlay: str) -> Manifest:
    [one] = pod(overlay)["containers"]
    assert isinstance(one, dict)
    return one


def given_to(overlay: str) -> dict[str, str]:
    """Return the environment of the forwarder: its ConfigMap, and nothing beside it."""
    config = only(overlay, "ConfigMap")
    one = container(overlay)
    assert one["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    assert "env" not in one, "nothing may be set that whoever installs it cannot leave out"
    data: dict[str, str] = config["data"]
    return data


def configured(overlay: str, secrets: Path) -> Settings:
    """Return what the forwarder makes of it, its secrets being in files of the same names."""
    values = {
        "redis-url": "redis://:secret@redis:6379/0",
        "webhook-url": "https://billing.example/cdr",
        "webhook-secret": "whsec_bm90IHZlcnkgc2VjcmV0IQ==",
        "ops-token": "token-of-sixteen-characters",
    }
    for name, value in values.items():
        (secrets / name).write_text(value)
    [mount] = container(overlay)["volumeMounts"]
    given = given_to(overlay).items()
    return settings_from({name: value.replace(mount["mountPath"], str(secrets)) for name, value in given})


def unknown_to(model: type[BaseModel], manifest: Manifest) -> Iterator[str]:
    """Yield what the operator would drop without a word: fields that it does not have."""
    kept = model.model_validate(manifest).model_dump(mode="json", by_alias=True, exclude_unset=True)

    def differing(ours: object, theirs: object, at: str) -> Iterator[str]:
        if isinstance(ours, dict) and isinstance(theirs, dict):
            for key, value in ours.items():
                yield from differing(value, theirs.get(key), f"{at}.{key}")
        elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
            for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                yield from differing(one, other, f"{at}[{number}]")
        elif ours != theirs:
            yield at

    yield from differing(manifest, kept, "")


@pytest.mark.parametrize("version", [OLDEST, LATEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_knows_every_field(overlay: str, version: str) -> None:
    """A misspelt one is dropped by some clients, and the protection that it stood for with it."""
    kubernetes = import_module("kubernetes_validate")
    known = kubernetes.latest_version() if version == LATEST else version
    for manifest in rendered(overlay):
        if manifest["kind"] not in operators():
            kubernetes.validate(manifest, known, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_operators_know_every_field(overlay: str) -> None:
    """The same, of KEDA's and Prometheus' own kinds."""
    for manifest in rendered(overlay):
        if manifest["kind"] in operators():
            assert not list(unknown_to(operators()[manifest["kind"]], manifest))


def test_one_process_needs_no_operator() -> None:
    """The first overlay that a person tries must work in any cluster."""
    assert not {manifest["kind"] for manifest in rendered("single")} & operators().keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_forwarder_accepts_what_it_is_given(overlay: str, tmp_path: Path) -> None:
    """It would stop with status 2 for a variable that there is not, and for a value that it cannot use."""
    settings = configured(overlay, tmp_path)
    assert settings.redis_url.get_secret_value() == "redis://:secret@redis:6379/0"
    [endpoint] = settings.endpoints
    assert endpoint.url.get_secret_value() == "https://billing.example/cdr"
    assert endpoint.secret
    assert settings.ops_token


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_come_as_files(overlay: str) -> None:
    """What is in the environment is in every `kubectl describe`, and in each crash report."""
    given = given_to(overlay)
    assert not {name for name in given if variable_names().get(name)}
    [volume] = pod(overlay)["volumes"]
    assert volume["secret"] == {"secretName": "cdr-forwarder", "defaultMode": 0o440}
    [mount] = container(overlay)["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert all(Path(value).parent == Path(mount["mountPath"]) for name, value in given.items() if name.endswith("FILE"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_is_given_more_time_than_its_grace(overlay: str, tmp_path: Path) -> None:
    """Otherwise what is still being delivered would be killed, and sent again."""
    assert pod(overlay)["terminationGracePeriodSeconds"] > configured(overlay, tmp_path).shutdown_grace


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_is_restricted(overlay: str) -> None:
    """All that the Pod Security Standard of that name asks for, and a root that it cannot write to."""
    spec, one = pod(overlay), container(overlay)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec.keys().isdisjoint({"hostNetwork", "hostPID", "hostIPC", "initContainers"})
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert only(overlay, "ServiceAccount")["automountServiceAccountToken"] is False
    assert one["resources"].keys() == {"requests", "limits"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_runs_as_the_user_of_the_image(overlay: str) -> None:
    """Another one might not be able to read what is installed there."""
    context = pod(overlay)["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == instruction("USER")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_variable_comes_from_services(overlay: str) -> None:
    """A Service called cdr-… would add CDR_…_PORT to the environment."""
    assert pod(overlay)["enableServiceLinks"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_is_asked_what_it_answers(overlay: str, tmp_path: Path) -> None:
    """A restart for a Redis that is away would cure nothing, so life and readiness are asked apart."""
    one = container(overlay)
    assert "CDR_OPS_HOST" not in given_to(overlay)  # that of the image: probes come from outside
    assert one["ports"] == [{"name": "ops", "containerPort": configured(overlay, tmp_path).ops_port}]
    for probe, path in {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}.items():
        assert one[probe]["httpGet"] == {"path": path, "port": "ops"}
    assert only(overlay, "Service")["spec"]["ports"] == [{"name": "ops", "port": 8080, "targetPort": "ops"}]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_of_them_mean_the_same_pods(overlay: str) -> None:
    """A selector that matches nothing is no error to Kubernetes."""
    deployment = only(overlay, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"] == {"matchLabels": labels}
    assert only(overlay, "PodDisruptionBudget")["spec"]["selector"] == {"matchLabels": labels}
    assert only(overlay, "NetworkPolicy")["spec"]["podSelector"] == {"matchLabels": labels}
    assert only(overlay, "Service")["spec"]["selector"] == labels


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_drain_is_never_held_up(overlay: str) -> None:
    """With `minAvailable: 1` and one process, a node could not be emptied."""
    budget = only(overlay, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_more_of_the_network_than_it_needs(overlay: str) -> None:
    """In to the operator port, out to names, Redis and HTTPS."""
    spec = only(overlay, "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"] for rule in spec["ingress"]] == [[{"protocol": "TCP", "port": "ops"}]]
    outward = {(port["protocol"], port["port"]) for rule in spec["egress"] for port in rule["ports"]}
    assert outward == {("UDP", 53), ("TCP", 53), ("TCP", 6379), ("TCP", 443)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_image_is_of_this_version(overlay: str) -> None:
    """`latest` would be another one tomorrow."""
    assert container(overlay)["image"] == f"cdr-forwarder:{installed_version('cdr-forwarder')}"


def test_an_autoscaler_has_the_last_word() -> None:
    """With `replicas` in the Deployment, each `kubectl apply` would take back what KEDA has done."""
    assert "replicas" not in only("replicas", "Deployment")["spec"]


def test_there_are_never_more_processes_than_lists(tmp_path: Path) -> None:
    """Nor fewer than two, which is what that overlay is for."""
    scaled = only("replicas", "ScaledObject")["spec"]
    assert 2 <= scaled["minReplicaCount"] <= scaled["fallback"]["replicas"] <= scaled["maxReplicaCount"] <= MOST_SLOTS
    assert scaled["scaleTargetRef"] == {"name": only("replicas", "Deployment")["metadata"]["name"]}
    backlog, down = scaled["triggers"]
    assert backlog["metadata"]["listName"] == configured("replicas", tmp_path).source_key
    assert backlog["authenticationRef"]["name"] == only("replicas", "TriggerAuthentication")["metadata"]["name"]
    assert re.findall(r"cdr_forwarder_\w+", down["metadata"]["query"]) == ["cdr_forwarder_breaker_open"]


def test_an_endpoint_that_is_down_gets_no_more_of_them() -> None:
    """KEDA takes the largest of several triggers, unless a formula of their names says otherwise."""
    scaled = only("replicas", "ScaledObject")["spec"]
    formula = scaled["advanced"]["scalingModifiers"]["formula"]
    assert {trigger["name"] for trigger in scaled["triggers"]} == {"backlog", "down"}
    assert formula == "down > 0 ? 0.0 : backlog"


def test_the_label_endpoint_stays_ours() -> None:
    """The operator gives each target a label of that name, which would turn ours into `exported_endpoint`."""
    monitor = only("replicas", "ServiceMonitor")["spec"]
    [scrape] = monitor["endpoints"]
    assert {"action": "labeldrop", "regex": "endpoint"} in scrape["relabelings"]
    service = only("replicas", "Service")
    assert monitor["selector"] == {"matchLabels": service["metadata"]["labels"]}
    assert scrape["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_they_are_spread_over_nodes() -> None:
    """Two on the node that dies are no more than one."""
    [spread] = pod("replicas")["topologySpreadConstraints"]
    labels = only("replicas", "Deployment")["spec"]["selector"]
    assert (spread["topologyKey"], spread["labelSelector"]) == ("kubernetes.io/hostname", labels)
