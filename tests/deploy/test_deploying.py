"""What deploy/README.md tells somebody to type works, as far as that can be told without their cluster."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from app.config.environment import variable_names
from app.config.settings import Settings
from tests.deploy.test_kubernetes import given_to, only, operators, pod, unknown_to
from tests.deploy.test_prometheus import ALERTS
from tests.deploy.test_systemd import said
from tests.docs.test_runbook import accepted
from tests.support.harness import settings_from
from tests.support.repository import COMPOSE, PROJECT, ROOT

README: Final = (ROOT / "deploy" / "README.md").read_text()
BLOCKS: Final = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
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
    "command", sorted(set(re.findall(r"(?:exec [^#\n]*|env )cdr-forwarder ([a-z][a-z -]*)", README)))
)
def test_each_command_can_be_typed(command: str) -> None:
    """With those options."""
    assert accepted(command)


def test_each_variable_there_is() -> None:
    """None that was renamed."""
    named = {name.removesuffix("_FILE") for name in re.findall(r"CDR_[A-Z_]+[A-Z]", README)}
    assert named <= variable_names().keys()


def test_what_is_put_into_env_reaches_the_forwarder() -> None:
    """Compose reads it for what docker-compose.yml names; all else in it would be ignored without a word."""
    [written] = re.findall(r"cat >.env <<'END'\n(.*?)END", README, re.DOTALL)
    given = dict(line.split("=", 1) for line in written.splitlines())
    environment = COMPOSE["services"]["forwarder"]["environment"]
    assert {name for name in given if environment[name].startswith("${" + name)} == given.keys()
    assert settings_from(given).endpoints[0].secret


def test_the_secret_has_what_the_pods_read() -> None:
    """A file that is not there stops the forwarder with status 2."""
    created = set(re.findall(r"--from-literal=([\w-]+)=", block_with("create secret")))
    assert created == SECRET
    assert f"generic {pod('single')['volumes'][0]['secret']['secretName']} " in README
    [added] = only("replicas", "TriggerAuthentication")["spec"]["secretTargetRef"]
    assert f'"{added["key"]}"' in block_with("patch secret")


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
    block = block_with("pipx install")
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
