"""What deploy/RUNBOOK.md tells somebody to type, or to look for, is there."""

import re
from typing import Final

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.config.environment import variable_names
from tests.support.repository import APP, README, ROOT

RUNBOOK: Final = (ROOT / "deploy" / "RUNBOOK.md").read_text()
EVENTS: Final = {
    name for path in (APP / "telemetry").glob("*.py") for name in re.findall(r'"([a-z_]+\.[a-z_]+)"', path.read_text())
}

ALERTS: Final = (
    "CdrForwarderEndpointDown",
    "CdrForwarderOldestCdrTooOld",
    "CdrForwarderDeadLettersGrowing",
    "CdrForwarderNoDelivery",
    "CdrForwarderRetriesWaiting",
    "CdrForwarderRedisAway",
    "CdrForwarderNotReady",
    "CdrForwarderAbsent",
    "CdrForwarderLeaseTrouble",
    "CdrForwarderRedisFull",
    "CdrForwarderSourceShared",
    "CdrForwarderLogLinesDropped",
)
ALERT_PART, RECIPE_PART = RUNBOOK.split("\n# Alerts\n")[1].split("\n# Recipes\n")
SECTIONS: Final = {
    part.partition("\n")[0]: part.partition("\n")[2]
    for both in (ALERT_PART, RECIPE_PART)
    for part in both.split("\n## ")[1:]
}


def commands() -> list[str]:
    """Return what follows `cdr-forwarder` where that is a command, and not the name of the service in a sentence."""
    code = re.findall(r"```sh\n(.*?)```", RUNBOOK + README, re.DOTALL) + re.findall(r"`([^`\n]+)`", RUNBOOK + README)
    found = [re.findall(r"(?:^|[ /])cdr-forwarder ([a-z][^#<\n]*)", text, re.MULTILINE) for text in code]
    return sorted({command.strip() for texts in found for command in texts})


def test_each_alert_has_its_section_and_no_other_has() -> None:
    """Whoever is woken searches for the name of the alert."""
    assert tuple(part.partition("\n")[0] for part in ALERT_PART.split("\n## ")[1:]) == ALERTS


@pytest.mark.parametrize("title", SECTIONS)
def test_each_section_answers_the_same_questions_in_the_same_order(title: str) -> None:
    """What it means, what to look at, what to do, when it is over, and why no CDR is lost."""
    bold = re.findall(r"^\*\*(What it means|Look|Do|It is over when|Why no CDR is lost)", SECTIONS[title], re.MULTILINE)
    assert bold == ["What it means", "Look", "Do", "It is over when", "Why no CDR is lost"]


def accepted(command: str) -> bool:
    """Tell whether its options are known; --help keeps it from being run."""
    return CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0


@pytest.mark.parametrize("command", commands())
def test_each_command_can_be_typed(command: str) -> None:
    """With those options."""
    assert accepted(command)


def test_what_cannot_be_typed_would_be_found() -> None:
    """The tests of this file can fail."""
    assert {"status", "check", "check --send", "dead-letters list --limit 20"} <= set(commands())
    assert not accepted("check --sent")
    assert not accepted("dead-letters replay --ratio 5")
    assert not accepted("nonsense")


def test_each_variable_there_is() -> None:
    """None that was renamed."""
    assert set(re.findall(r"CDR_[A-Z0-9_]+[A-Z]", RUNBOOK)) <= variable_names().keys()


def test_each_event_there_is() -> None:
    """What is to be looked for in the log is what the log says."""
    named = {name for name in re.findall(r"`([a-z_]+\.[a-z_]+)`", RUNBOOK) if not name.endswith((".jsonl", ".md"))}
    assert len(named) >= 8
    assert named <= EVENTS


def test_each_link_leads_somewhere() -> None:
    """As GitHub makes an anchor of a heading."""
    headings = re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= anchors


def test_kubectl_is_told_the_namespace() -> None:
    """Without it, it looks in a namespace where the forwarder is not."""
    typed = re.findall(r"^kubectl .*$", RUNBOOK, re.MULTILINE)
    assert len(typed) >= 2
    assert [line for line in typed if "--namespace cdr" not in line] == []


def test_no_line_is_long() -> None:
    """It is read on whatever screen is at hand."""
    assert [line for line in RUNBOOK.splitlines() if len(line) > 120] == []
