"""A forked forwarder is the same as one that was started afresh: tests use it for the CPU time that it saves."""

import signal
from contextlib import suppress
from pathlib import Path
from re import sub
from typing import Any, Final

import pytest
from tenacity import RetryError

from tests.conftest import StartChild
from tests.support import preloaded
from tests.support.forwarder import owns_a_list
from tests.support.harness import Child, eventually
from tests.support.world import World

NOWHERE: Final = {"CDR_WEBHOOK_URL": "http://127.0.0.1:1/", "CDR_REDIS_URL": "redis://127.0.0.1:1/0"}
COMMON: Final = {"Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Cpus_allowed", "SigBlk", "SigIgn", "SigCgt", "CapEff"}
TIME: Final = r"\d\d:\d\d:\d\d[.\d]*"

pytestmark = pytest.mark.skipif(not preloaded.is_possible({}), reason="processes are forked on Linux only")


def printed_by(child: Child) -> str:
    return sub(TIME, "", child.log.read_text())


def seen_from_outside(child: Child) -> dict[str, Any]:
    """Return what the kernel knows of a process, as far as two of them have it in common."""
    process = Path(f"/proc/{child.process.pid}")
    lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    files = {file.name: str(file.readlink()).split("[")[0] for file in (process / "fd").iterdir()}
    return {name: lines[name].split() for name in sorted(COMMON & lines.keys())} | {
        "group and session": (process / "stat").read_text().rpartition(")")[2].split()[2:4],
        "limits": (process / "limits").read_text(),
        "directory": str((process / "cwd").readlink()),
        "input": files["0"],
        "output": files["1"] == files["2"],
        "other files": sorted(kind for number, kind in files.items() if int(number) > 2),
    }


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["version"], {}),
        (["--help"], {}),
        (["check", "--jsn"], {}),
        (["run"], {}),
        (["run"], {"CDR_WEBHOOK_URL": "nowhere", "CDR_LOG_FORMAT": "console"}),
        (["check", "--json"], NOWHERE),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_a_command_prints_and_returns_the_same(
    arguments: list[str], variables: dict[str, str], start_child: StartChild
) -> None:
    """Each byte that it prints, apart from the time, and its exit status."""
    fresh, forked = [await start_child(variables, *arguments, fresh=fresh) for fresh in (True, False)]
    assert await fresh.ended() == await forked.ended()
    assert printed_by(fresh) == printed_by(forked)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)])
async def test_a_forwarder_looks_the_same_and_ends_the_same(
    number: signal.Signals, status: int, world: World, start_child: StartChild
) -> None:
    """Its signals, rights, files, limits, directory and session, as the kernel sees them; and how it ends."""
    fresh, forked = [await start_child(world.variables, "run", fresh=fresh) for fresh in (True, False)]
    for slot in (1, 2):
        await owns_a_list(world.redis, world.integrator, slot)
    with suppress(RetryError):  # each may be connecting still
        await eventually(lambda: seen_from_outside(fresh) == seen_from_outside(forked))
    assert seen_from_outside(fresh) == seen_from_outside(forked)
    for forwarder in (fresh, forked):
        forwarder.signal(number)
        assert await forwarder.ended() == forwarder.process.returncode == status


async def test_a_command_is_interrupted_the_same(world: World, start_child: StartChild) -> None:
    """By Ctrl-C, which only the forwarder handles itself: all else is left to the interpreter."""
    watch = ["status", "--watch", "--every", "0.1"]
    both = [await start_child(world.variables, *watch, fresh=fresh) for fresh in (True, False)]
    for child in both:
        await eventually(child.log.read_text)
        child.signal(signal.SIGINT)
    fresh, forked = [await child.ended() for child in both]
    assert fresh == forked != 0
