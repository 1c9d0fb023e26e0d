"""What a person types, and the exit status that scripts and containers go by."""

import asyncio
import re
import subprocess
import sys
from asyncio.subprocess import PIPE, STDOUT
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from app.demo.embedded import EmbeddedRedis
from tests.conftest import StartChild
from tests.support.harness import eventually

COMMANDS: Final = (
    *("run", "demo", "healthcheck", "version"),
    *("check", "status", "dead-letters", "reroute", "inject", "receive", "id", "generate-secret"),
)
WHEN: Final = re.compile(r'"timestamp": "[^"]*"')
SCRIPT: Final = str(Path(sys.executable).with_name("cdr-forwarder"))


@pytest.mark.parametrize("argument", ["version", "--version"])
async def test_version_is_that_of_the_package(start_child: StartChild, argument: str) -> None:
    """One line, nothing else; it needs no configuration."""
    child = await start_child({}, argument)
    assert await child.ended() == 0
    assert child.log.read_text() == f"{version('cdr-forwarder')}\n"


@pytest.mark.parametrize("argument", ["--help", "-h"])
async def test_help_names_every_command(start_child: StartChild, argument: str) -> None:
    """It works without any configuration, and says what this is."""
    child = await start_child({"NO_COLOR": "1", "COLUMNS": "200"}, argument)
    assert await child.ended() == 0
    said = child.log.read_text()
    assert "Moves every call-detail record" in said
    assert all(command in said for command in COMMANDS)


async def test_every_command_has_a_short_way_to_its_help(start_child: StartChild) -> None:
    """-h, as of most tools."""
    child = await start_child({"NO_COLOR": "1", "COLUMNS": "200"}, "dead-letters", "list", "-h")
    assert await child.ended() == 0
    assert "--endpoint" in child.log.read_text()


@pytest.mark.parametrize("arguments", [["run"], []], ids=["run", "no command"])
async def test_a_bad_configuration_is_exit_status_2(start_child: StartChild, arguments: list[str]) -> None:
    """With every problem, one line each, and nothing else; `run` is what no command means."""
    wrong = {"CDR_LEASE": "soon", "CDR_WEBHOOK_URL": "ftp://x/", "CDR_LOG_FORMAT": "console"}
    child = await start_child(wrong, *arguments)
    assert await child.ended() == 2
    assert [line.split(":")[0] for line in child.log.read_text().splitlines()] == ["CDR_WEBHOOK_URL", "CDR_LEASE"]


async def test_a_healthcheck_of_a_bad_configuration_is_exit_status_2(start_child: StartChild) -> None:
    """Not merely unhealthy: it says what is wrong."""
    child = await start_child({}, "healthcheck")
    assert await child.ended() == 2
    assert child.log.read_text().startswith("CDR_WEBHOOK_URL: got (not set); must be set")


@pytest.mark.parametrize("arguments", [["forward"], ["run", "--fast"], ["--fast"]])
async def test_what_is_not_a_command_is_exit_status_2(start_child: StartChild, arguments: list[str]) -> None:
    """A typo does not start anything."""
    child = await start_child({"CDR_WEBHOOK_URL": "http://127.0.0.1:1/"}, *arguments)
    assert await child.ended() == 2
    assert not child.events()


async def test_an_unusable_redis_is_exit_status_2_and_a_sentence(
    start_child: StartChild, redis_server: EmbeddedRedis, variables: dict[str, str]
) -> None:
    """No traceback for what a person has to set right."""
    first = await start_child(variables, "run")
    await eventually(lambda: first.events("slot.taken"))
    second = await start_child(variables | {"CDR_SOURCE_KEY": "elsewhere"}, "run")
    assert await second.ended() == 2
    assert "Traceback" not in second.log.read_text()


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["run"], ["nonsense"]])
async def test_the_console_script_is_the_same_as_python_m_app(start_child: StartChild, arguments: list[str]) -> None:
    """Whichever is at hand: the same words, the same exit status."""
    module = await start_child({}, *arguments)
    script = await asyncio.create_subprocess_exec(SCRIPT, *arguments, env={}, stdout=PIPE, stderr=STDOUT)
    said, _ = await script.communicate()
    status = await module.ended()
    words = WHEN.sub("", module.log.read_text()).replace("python -m app", "cdr-forwarder").split()
    assert (status, words) == (script.returncode, WHEN.sub("", said.decode()).split())


def imported_by(*arguments: str) -> set[str]:
    """Return the modules and packages that the command line imports, besides those of Python."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "app", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    modules = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {".".join(module.split(".")[: 2 if module.startswith("app.") else 1]) for module in modules}


def test_what_needs_no_forwarder_imports_none() -> None:
    """So that it answers at once, and completion keeps pace with who types: none of it takes half a second."""
    for arguments in ["version"], ["--version"], ["generate-secret"], ["dead-letters", "list", "--help"]:
        heavy = {"asyncio", "redis", "httpx", "structlog", "uvicorn", "app.service", "app.config"}
        assert not heavy & imported_by(*arguments), arguments


def completed(*words: str) -> list[str]:
    """Return what bash would offer after these words."""
    env = {
        "_CDR_FORWARDER_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["cdr-forwarder", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=True, env=env)
    return done.stdout.split()


def test_a_shell_completes_what_is_typed() -> None:
    """Commands, options, and the values that there are; the script for it is one option away."""
    assert completed("dead") == ["dead-letters"]
    assert completed("dead-letters", "dr") == ["drop"]
    assert completed("dead-letters", "list", "--rea") == ["--reason"]
    assert completed("dead-letters", "list", "--reason", "") == ["rejected", "gave_up", "damaged"]
    shown = subprocess.run(
        [SCRIPT, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
        env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "complete -o default -F _cdr_forwarder_completion cdr-forwarder" in shown.stdout
