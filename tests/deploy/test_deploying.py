"""What deploy/README.md tells somebody to type works, as far as that can be told without their cluster."""

import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import kubernetes_validate
import pytest
import yaml

from app.config.environment import variable_names
from app.config.settings import Settings
from app.demo.embedded import EmbeddedRedis
from tests.conftest import StartChild
from tests.deploy.test_kubernetes import built, container, given_to, only, operators, pod, unknown_to
from tests.deploy.test_prometheus import ALERTS
from tests.deploy.test_systemd import said
from tests.docs.test_runbook import accepted
from tests.support.compose import given_by_compose
from tests.support.harness import settings_from
from tests.support.receiver import Receiver
from tests.support.repository import COMPOSE, PROJECT, ROOT
from tests.support.tools import tool

README: Final = (ROOT / "deploy" / "README.md").read_text()
BLOCKS: Final = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
MOUNTED: Final = container("single")["volumeMounts"][0]["mountPath"]
SECRET: Final = {Path(value).name for name, value in given_to("single").items() if name.endswith("_FILE")}


def block_with(text: str) -> str:
    [found] = [block for block in BLOCKS if text in block]
    return str(found)


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?:deploy/|\]\((?!http|#))[\w./-]+\w|\.env\.example", README)))
)
def test_each_file_is_there(path: str) -> None:
    """Commands name them from the top of the repository, links from where they stand."""
    assert (ROOT / "deploy" / path.removeprefix("](")).exists() or (ROOT / path).exists()


@pytest.mark.parametrize(
    "command",
    sorted(
        set(
            re.findall(r"(?:exec [^#\n]*cdr-forwarder|^cdr|run [^#\n]*forwarder) ([a-z][a-z -]*)", README, re.MULTILINE)
        )
    ),
)
def test_each_command_can_be_typed(command: str) -> None:
    """With those options."""
    assert accepted(command)


def test_each_variable_there_is() -> None:
    """None that was renamed."""
    named = {name.removesuffix("_FILE") for name in re.findall(r"CDR_[A-Z0-9_]+[A-Z]\b", README)}
    assert named <= {*variable_names(("BILLING", "CRM")), "CDR_STORE"}  # that one is the receivers'


def typed(block: str, directory: Path) -> str:
    """Run a block of the guide as a person would, and return what it printed."""
    done = subprocess.run(["sh", "-ec", block], cwd=directory, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


@pytest.mark.parametrize(
    ("block", "names"), [("CDR_WEBHOOK_SECRET=", ["webhook"]), ("CDR_ENDPOINTS__CRM__SECRET=", ["billing", "crm"])]
)
def test_what_is_put_into_env_reaches_the_forwarder(block: str, names: list[str], tmp_path: Path) -> None:
    """By Compose, for one endpoint and for several: the forwarder accepts it, and each secret is another one."""
    typed(block_with(block), tmp_path)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    settings = settings_from(given_by_compose((tmp_path / ".env").read_text()))
    assert [endpoint.name for endpoint in settings.endpoints] == names
    assert len({key for endpoint in settings.endpoints for key in endpoint.signing_keys}) == len(names)
    assert settings.sources[0].redis.shown_url == "redis://redis.example:6379/***"


async def test_check_and_a_test_cdr_pass_with_several_endpoints(
    tmp_path: Path, redis_server: EmbeddedRedis, receiver: Receiver, integrator: str, start_child: StartChild
) -> None:
    """With what Compose makes of the guide's .env, and the addresses of this machine in it."""
    typed(block_with("CDR_ENDPOINTS__CRM__SECRET="), tmp_path)
    written = re.sub("redis://.*", redis_server.url, (tmp_path / ".env").read_text())
    written = (
        re.sub("https://.*", receiver.url, written) + f"CDR_INTEGRATOR={integrator}\nCDR_SOURCE_KEY={integrator}-s\n"
    )
    checked = await start_child(given_by_compose(written), "check", "--send")
    assert await checked.ended() == 0, checked.log.read_text()
    assert receiver.bodies.total() == 2


def test_the_secret_has_what_the_pods_read() -> None:
    """A file that is not there stops the forwarder with status 2."""
    created = set(re.findall(r"--from-literal=([\w-]+)=", block_with("--from-literal=webhook-url")))
    assert created == SECRET
    assert f"generic {pod('single')['volumes'][0]['secret']['secretName']} " in README
    [added] = only("replicas", "TriggerAuthentication")["spec"]["secretTargetRef"]
    assert f'"{added["key"]}"' in block_with("patch secret")


def test_several_endpoints_are_a_small_change_of_the_manifests(tmp_path: Path) -> None:
    """What the guide says to type: valid manifests, and a Secret and variables that the forwarder accepts together."""
    tool("kubectl")
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    change = block_with("--from-literal=billing-url").rstrip() + " --dry-run=client --output=yaml"
    secret = yaml.safe_load(typed(change, tmp_path))
    manifests = built(tmp_path / "deploy" / "kubernetes" / "single")
    for manifest in (*manifests, secret):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == ("cdr-forwarder", "cdr")
    for name, value in secret["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(value))
    [config] = [manifest["data"] for manifest in manifests if manifest["kind"] == "ConfigMap"]
    settings = settings_from({name: value.replace(MOUNTED, str(tmp_path)) for name, value in config.items()})
    shown = {endpoint.name: endpoint.shown_url for endpoint in settings.endpoints}
    assert shown == {"billing": "https://billing.example/***", "crm": "https://crm.example/***"}
    assert all(endpoint.secret for endpoint in settings.endpoints)
    assert settings.ops_token


def test_the_image_gets_its_new_name(tmp_path: Path) -> None:
    """The sed of the guide does to the overlay what it says."""
    overlay = tmp_path / "kustomization.yaml"
    overlay.write_text((ROOT / "deploy" / "kubernetes" / "single" / "kustomization.yaml").read_text())
    [expression] = re.findall(r"sed -i '([^']+)'", block_with("newName"))
    subprocess.run(["sed", "-i", expression, overlay], check=True, timeout=10)
    [image] = yaml.safe_load(overlay.read_text())["images"]
    assert image == {
        "name": "cdr-forwarder",
        "newName": "registry.example/cdr-forwarder",
        "newTag": PROJECT["project"]["version"],
    }
    assert f"--tag {image['newName']}:{image['newTag']} " in README


def test_the_operator_gets_the_same_alerts() -> None:
    """Made of the rule file by the lines of the guide, up to where kubectl would take over."""
    script = block_with("PrometheusRule").partition("| kubectl")[0]
    made = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10)
    rule = yaml.safe_load(made.stdout)
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    assert not list(unknown_to(operators()["PrometheusRule"], rule))


def test_the_unit_finds_what_was_installed() -> None:
    """The same paths in the guide as in the unit."""
    block = block_with("pipx install .\n")
    assert f"PIPX_BIN_DIR={Path(said('ExecStart').split()[0]).parent} " in block
    assert said("EnvironmentFile") in block


def test_everywhere_it_is_given_the_time_that_is_told() -> None:
    """In three notations."""
    times = {
        COMPOSE["services"]["forwarder"]["stop_grace_period"].removesuffix("s"),
        str(pod("single")["terminationGracePeriodSeconds"]),
        said("TimeoutStopSec"),
    }
    grace = Settings.model_fields["shutdown_grace"].default
    assert [f"here it is {time} s everywhere, with a grace of {grace} s" in README for time in times] == [True]
