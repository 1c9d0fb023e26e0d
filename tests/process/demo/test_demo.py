"""What a newcomer is shown works out, from one end to the other, and leaves nothing behind."""

import asyncio
import io
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest
from rich.console import Console

from app.demo.calls import invent
from app.demo.child import Forwarder
from app.demo.count import Count, Ledger, percentile
from app.demo.lists import Lengths
from app.demo.sample_endpoint import Arrival
from app.demo.view import LiveView, PlainView, Scene, notable, sparkline
from tests.support.harness import eventually, measured
from tests.support.repository import ROOT

COUNT = re.compile(
    r"pushed (?P<pushed>\d+), delivered (?P<delivered>\d+), duplicates (?P<duplicates>\d+), "
    r"altered 0, dead 0, waiting (?P<waiting>\d+), unacked (?P<unacked>\d+), lost 0"
)
SCENE = Scene(
    lists=Lengths(source=7, processing=5, deferred=1, dead=0, owners=1),
    in_flight=4,
    pushed=100,
    delivered=88,
    duplicates=2,
    refused=11,
    retried=9,
    p50="1.2 ms",
    p99="3.4 s",
)

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")


async def start_demo(directory: Path, **variables: str) -> Process:
    """Start it as a newcomer on a bare machine would: nothing but a PATH, and here a place for its files."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "demo", "--quick"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=ROOT,
        env={"PATH": os.defpath, "TMPDIR": str(directory), **measured(), **variables},
        start_new_session=True,
    )


async def heard(demo: Process, words: str) -> None:
    assert demo.stdout
    while words not in (line := (await demo.stdout.readline()).decode()):
        assert line, f"the demo ended before it said {words!r}"


def final_count(out: bytes) -> dict[str, int]:
    found = COUNT.fullmatch(out.decode().splitlines()[-1])
    assert found, out.decode()
    return {name: int(number) for name, number in found.groupdict().items()}


def descendants(pid: int) -> set[int]:
    """Return the processes below this one, watchers and all."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(status.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def left_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def running(pids: set[int]) -> set[int]:
    return pids & descendants(1)


async def test_everything_arrives(tmp_path: Path) -> None:
    """A 503, a SIGKILL, and at the end every CDR has arrived; it leaves no file behind."""
    demo = await start_demo(tmp_path)
    out, err = await demo.communicate()
    assert (demo.returncode, err) == (0, b""), out.decode() + err.decode()
    count = final_count(out)
    assert count["delivered"] == count["pushed"] > 0
    assert count["unacked"] == 0
    assert b"killed with SIGKILL" in out
    assert left_in(tmp_path) == []


@needs_proc
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["Calls end", "answers 503", "SIGKILL"])
async def test_ctrl_c_ends_it_cleanly(signum: signal.Signals, moment: str, tmp_path: Path) -> None:
    """Whatever it is doing: no traceback, no process left, and a count that adds up."""
    demo = await start_demo(tmp_path)
    await heard(demo, moment)
    started = descendants(demo.pid)
    assert started
    demo.send_signal(signum)
    out, err = await demo.communicate()
    assert (demo.returncode, err) == (128 + signum, b"")
    count = final_count(out)
    assert count["delivered"] + count["waiting"] == count["pushed"]
    await eventually(lambda: not running(started))
    assert left_in(tmp_path) == []


@needs_proc
async def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    """Not even SIGKILL makes orphans of the forwarder and the server."""
    demo = await start_demo(tmp_path)
    await heard(demo, "Calls end")
    started = descendants(demo.pid)
    demo.kill()
    await demo.communicate()
    await eventually(lambda: not running(started))


async def test_a_forwarder_that_ends_by_itself_is_told(tmp_path: Path) -> None:
    """The newcomer sees why, and the exit status says so."""
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MISCONFIGURED),
        stdout=PIPE,
        stderr=PIPE,
        cwd=ROOT,
        env={"PATH": os.defpath, "TMPDIR": str(tmp_path), **measured()},
    )
    out, err = await demo.communicate()
    assert (demo.returncode, err) == (1, b"")
    assert b"The forwarder ended by itself, with exit status 2" in out
    assert b"CDR_NONSENSE" in out


async def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    """A forwarder that takes its time to stop is killed then."""
    deaf = tmp_path / "deaf"
    deaf.write_text(f"#!{sys.executable}\n{DEAF}")
    deaf.chmod(0o755)
    said: list[str] = []
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        forwarder = Forwarder({}, tmp_path, said.append, tasks, str(deaf))
        await forwarder.start()
        await eventually(lambda: "deaf" in said)
        stopping = tasks.create_task(forwarder.stop(3600))
        await eventually(lambda: "what?" in said)
        assert not stopping.done()
        forwarder.force()


DEAF = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("deaf", flush=True)
signal.sigwait({signal.SIGTERM})
print("what?", flush=True)
signal.sigwait({signal.SIGTERM})
"""
MISCONFIGURED = """
import sys, app.demo.demo
app.demo.demo.settings = lambda *_: {"CDR_NONSENSE": "1"}
sys.exit(app.demo.demo.main(quick=True))
"""


def test_cdrs_have_the_documented_shape_and_are_all_different() -> None:
    cdrs = [invent(number) for number in range(500)]
    assert len(set(cdrs)) == len(cdrs)
    assert len({json.loads(cdr)["payload"]["call_ref"] for cdr in cdrs}) == len(cdrs)
    assert {json.loads(cdr)["payload"]["end_reason"] for cdr in cdrs} > {"ANSWERED", "BUSY"}


def arrive(ledger: Ledger, body: bytes, status: int = 204, webhook_id: str | None = None, attempt: int = 1) -> None:
    ledger.arrived(Arrival(webhook_id or Ledger.webhook_id(body), attempt, body, status, 1.0))


def test_the_count_is_honest() -> None:
    """Only what the endpoint has taken, byte for byte and under its id, is delivered."""
    ledger = Ledger(pushed=dict.fromkeys([b"taken", b"twice", b"refused", b"waiting", b"dead", b"lost"], 0.5))
    arrive(ledger, b"taken")
    arrive(ledger, b"twice")
    arrive(ledger, b"twice", attempt=2)
    arrive(ledger, b"refused", status=503)
    arrive(ledger, b"taken ")
    count = ledger.count(waiting={b"waiting", b"taken"}, dead={b"dead"})
    assert count == Count(pushed=6, delivered=2, duplicates=1, altered=1, dead=1, waiting=1, unacked=1, lost=2)
    assert not count.complete
    assert (ledger.refused, ledger.retried, ledger.latencies) == (1, 1, [0.5, 0.5])


def test_another_webhook_id_is_no_delivery_as_promised() -> None:
    ledger = Ledger(pushed={b"cdr": 0.0})
    arrive(ledger, b"cdr", webhook_id="cdr_of_another")
    assert not ledger.count(waiting=set(), dead=set()).complete


def test_all_taken_is_complete() -> None:
    ledger = Ledger(pushed={b"cdr": 0.0})
    arrive(ledger, b"cdr")
    assert ledger.count(waiting=set(), dead=set()).complete


def test_percentiles_are_for_people() -> None:
    assert percentile([], 0.5) == "-"
    assert percentile([0.001, 0.002, 3.0], 0.5) == "2.0 ms"
    assert percentile([0.001, 0.002, 3.0], 0.99) == "3.0 s"


def test_only_loud_log_lines_are_notable() -> None:
    """What the forwarder says without being asked, such as a traceback, is shown too."""
    assert notable('{"event": "slot.taken", "level": "info"}') is None
    assert notable('{"event": "slot.lost", "level": "warning", "slot": 1, "timestamp": "now"}') == (
        "warning",
        "slot.lost slot=1",
    )
    assert notable("Traceback") == ("error", "Traceback")


def test_a_sparkline_shows_its_highest_value() -> None:
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "  "
    assert sparkline([0, 1, 8]) == " ▁█"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_picture_shows_every_number_on_a_terminal(width: int) -> None:
    """Markup in a log line is text, and a long one does not break the picture."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=50)
    with LiveView(console) as view:
        view.phase("The endpoint answers 503")
        view.log(json.dumps({"event": "[red]", "level": "error", "why": "x" * 300}))
        view.show(SCENE)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert all(number in shown for number in ("100", "88", "1.2 ms", "3.4 s", "[red]", "answers 503"))


@pytest.mark.parametrize("width", [80, 40, 12])
def test_the_picture_fits_a_terminal_of_usual_height(width: int) -> None:
    """Nothing is cut off at 80 by 24, whatever has happened; where it is narrower, it is still drawn."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=24)
    with LiveView(console) as view:
        for number in range(30):
            view.phase(f"Phase {number}")
        view.show(SCENE)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue().rpartition("╭")[2]
    assert "Ph" in shown
    if width == 80:
        assert len(shown.splitlines()) <= 24
        assert "..." not in shown
        assert all(text in shown for text in ("Phase 29", "1.2 ms", "delivered", "╰"))


def test_plain_lines_do_not_wrap() -> None:
    console = Console(file=io.StringIO(), width=40)
    with PlainView(console) as view:
        view.phase("Begin")
        view.log('{"event": "x.y", "level": "warning", "advice": "[bold]"}')
        view.show(SCENE)
        view.show(SCENE)
    assert isinstance(console.file, io.StringIO)
    phase, log, numbers = console.file.getvalue().splitlines()
    assert phase.endswith("== Begin")
    assert log.endswith("forwarder: warning: x.y advice=[bold]")
    assert numbers.endswith(SCENE.line())
