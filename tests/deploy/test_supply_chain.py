"""What others run for us is pinned, and may do little."""

import re
import sys
from importlib.metadata import files
from typing import Any, Final

import pytest
import yaml
from packaging.requirements import Requirement

from tests.support.repository import PROJECT, ROOT
from tests.support.tools import output_of

FILE: Final = ROOT / ".github" / "workflows" / "ci.yml"
WORKFLOW: Final[dict[str, Any]] = yaml.safe_load(FILE.read_text())
JOBS: Final[dict[str, dict[str, Any]]] = WORKFLOW["jobs"]
SECURITY: Final = (ROOT / ".github" / "SECURITY.md").read_text()


def test_github_knows_every_field() -> None:
    """It would refuse the whole file, and run nothing."""
    output_of(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", FILE)


@pytest.mark.parametrize("action", re.findall(r"uses: (.*)", FILE.read_text()))
def test_an_action_is_one_commit(action: str) -> None:
    """A tag can be moved to another one by whoever owns it; which version it is stands beside it."""
    assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_it_may_read_and_no_more() -> None:
    """A token that can write would be in the hands of every dependency of the tests."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in JOBS.values())
    checkouts = [step for job in JOBS.values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert len(checkouts) == len(JOBS)
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_it_runs_what_everybody_can_run() -> None:
    """What is green there is green here: it knows no commands of its own."""
    assert {"run": ".ci/run"} in JOBS["run"]["steps"]


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)]+)\)", SECURITY))
def test_what_the_policy_points_to_is_there(path: str) -> None:
    """As seen from where it stands."""
    assert (ROOT / ".github" / path).exists()


@pytest.mark.parametrize("line", PROJECT["project"]["optional-dependencies"]["demo"])
def test_the_demo_puts_no_server_on_path(line: str) -> None:
    """It would stand before the Redis of whoever activates the environment."""
    wanted = Requirement(line)
    if wanted.marker and not wanted.marker.evaluate():
        pytest.skip("there is none for this machine")
    installed = files(wanted.name) or []
    assert not [file for file in installed if file.parent.name == "bin" and ".." in file.parts and "redis" in file.name]


def test_the_bill_of_materials_is_where_the_policy_says() -> None:
    """And is what the workflow keeps."""
    paths = [step["with"]["path"] for step in JOBS["run"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert paths == re.findall(r"`(build/[\w.]+)`", SECURITY)
    assert f"-o {paths[0]} " in (ROOT / ".ci" / "run").read_text()
