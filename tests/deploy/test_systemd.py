"""The systemd unit: accepted by systemd, with no more rights than it needs, and for the forwarder that there is."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from app.cli.command import BAD_CONFIGURATION
from app.cli.main import app
from app.config.endpoint import EndpointSettings
from app.config.settings import Settings
from app.service import CUT_OFF
from tests.support.repository import ROOT
from tests.support.tools import output_of, tool

UNIT: Final = ROOT / "deploy" / "systemd" / "cdr-forwarder.service"
MOST_EXPOSED: Final = 20
"""Of 100. What is left is that it talks to the network, which is what it is for."""


def said(name: str) -> str:
    """Return the last value of a setting, as systemd takes it."""
    return str(re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)[-1])


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit, as if its program were where it will be."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(said("ExecStart").split()[0], "/bin/true"))
    return unit


def test_systemd_accepts_it(installed: Path) -> None:
    """It ignores what it does not know, with a line in a log that nobody reads."""
    command = [tool("systemd-analyze"), "verify", "--man=no", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]  # of others, this host may have some
    assert (done.returncode, complaints) == (0, [])


def test_systemd_accepts_what_gives_it_a_secret_in_a_file(installed: Path) -> None:
    """The lines of the guide, as `systemctl edit` would write them: no other settings, and one path for all."""
    guide = (ROOT / "deploy" / "README.md").read_text()
    [lines] = re.findall(r"```ini\n(.*?)```", guide, re.DOTALL)
    edited = installed.with_suffix(".service.d")
    edited.mkdir()
    (edited / "override.conf").write_text(lines)
    test_systemd_accepts_it(installed)
    [loaded] = re.findall("^LoadCredential=webhook-secret:(.*)$", lines, re.MULTILINE)
    assert f"BindReadOnlyPaths=%d/webhook-secret:{loaded}\n" in lines
    assert f"CDR_WEBHOOK_SECRET_FILE={loaded} " in guide


def test_systemd_finds_it_confined(installed: Path) -> None:
    """By its own score."""
    output_of(tool("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", installed)


def test_it_starts_a_command_that_there_is() -> None:
    """From where pipx puts it for all users."""
    program, *arguments = said("ExecStart").split()
    assert program == "/usr/local/bin/cdr-forwarder"
    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


def test_it_is_given_more_time_than_its_grace() -> None:
    """Otherwise what is still being delivered would be killed, and sent again."""
    assert int(said("TimeoutStopSec")) > Settings.model_fields["shutdown_grace"].default


def test_its_limits_keep_deliveries_going_and_secrets_inside() -> None:
    """Descriptors for every attempt at once, and no memory on the disk."""
    most = next(rule.le for rule in EndpointSettings.model_fields["concurrency"].metadata if hasattr(rule, "le"))
    assert int(said("LimitNOFILE")) >= 4 * most
    assert said("LimitCORE") == "0"


def test_it_knows_what_an_exit_status_means() -> None:
    """A bad configuration is not tried again each two seconds, and an attempt that was cut off is no failure."""
    assert int(said("RestartPreventExitStatus")) == BAD_CONFIGURATION
    assert int(said("SuccessExitStatus")) == CUT_OFF
