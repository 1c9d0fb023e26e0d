"""Who reads the log, or does not, cannot stop the process."""

import asyncio
import errno
import json
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from app.telemetry.log_queue import LogQueue, LogStream
from tests.support.harness import eventually, gone, measured
from tests.support.world import World

CDRS: Final = 3000


class Pipe:
    """A pipe whose reader reads nothing until it is told to."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self._open = {self.read_end, self.write_end}

    def fill(self) -> None:
        """Write until not one more byte fits."""
        os.set_blocking(self.write_end, False)
        with suppress(BlockingIOError):
            while os.write(self.write_end, b"\n" * 4096):
                pass
        with suppress(BlockingIOError):
            while os.write(self.write_end, b"\n"):
                pass
        os.set_blocking(self.write_end, True)

    def read(self) -> str:
        return os.read(self.read_end, 1_000_000).decode()

    def close_reader(self) -> None:
        self._close(self.read_end)

    def close_writer(self) -> None:
        self._close(self.write_end)

    def close(self) -> None:
        self.close_reader()
        self.close_writer()

    def _close(self, end: int) -> None:
        if end in self._open:  # closed twice, it could be a descriptor of somebody else's by then
            self._open.remove(end)
            os.close(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def told() -> list[int]:
    return []


def queue_to(descriptor: int, told: list[int], most_bytes: int = 1000) -> LogQueue:
    queue = LogQueue(descriptor, told.append, most_bytes)
    queue.start()
    return queue


async def read_until(pipe: Pipe, end: str) -> str:
    found = ""
    while not found.endswith(end):
        found += await asyncio.to_thread(pipe.read)
    return found.lstrip("\n")


# --- the queue


async def test_lines_are_written_in_order(pipe: Pipe, told: list[int]) -> None:
    """As they were, whatever is in them."""
    queue = queue_to(pipe.write_end, told)
    for line in "one\n", "zwei ü\n", "\udcff three\n":
        queue.put(line)
    assert queue.flush(5)
    assert pipe.read() == "one\nzwei ü\n\\udcff three\n"
    assert (queue.dropped, told) == (0, [])


async def test_a_full_pipe_drops_and_counts_what_does_not_fit(pipe: Pipe, told: list[int]) -> None:
    """Nobody waits; what was accepted arrives in order once somebody reads, and then the number is told."""
    pipe.fill()
    queue = queue_to(pipe.write_end, told)
    for number in range(1000):
        queue.put(f"{number:04}\n")
    accepted = 1000 - queue.dropped
    assert 200 <= accepted <= 500
    assert told == []
    lines: list[str] = []
    while len(lines) < accepted:  # each accepted one comes: the writer may have made room in between
        lines += (await read_until(pipe, "\n")).split()
    assert lines == sorted(set(lines))
    await eventually(lambda: told == [1000 - accepted])
    queue.put("more\n")
    assert queue.flush(5)
    assert told == [1000 - accepted]


async def test_a_flush_ends_with_its_deadline(pipe: Pipe, told: list[int]) -> None:
    """A process that stops does not wait for whoever does not read."""
    pipe.fill()
    queue = queue_to(pipe.write_end, told)
    queue.put("never read\n")
    assert not queue.flush(0.05)


async def test_a_reader_that_died_is_survived(pipe: Pipe, told: list[int]) -> None:
    """Each line is counted as dropped; nothing is told, since nobody would hear it."""
    pipe.close_reader()
    queue = queue_to(pipe.write_end, told)
    queue.put("one\n")
    queue.put("two\n")
    assert queue.flush(5)
    queue.put("three\n")
    assert queue.flush(5)
    assert (queue.dropped, told) == (3, [])


async def test_a_descriptor_that_is_closed_is_survived(pipe: Pipe, told: list[int]) -> None:
    """EBADF is one more way in which nobody reads."""
    closed = os.dup(pipe.write_end)
    os.close(closed)
    queue = queue_to(closed, told)
    queue.put("one\n")
    assert queue.flush(5)
    assert queue.dropped == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_a_full_disk_is_survived(told: list[int]) -> None:
    """ENOSPC: the line is dropped."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    queue = queue_to(descriptor, told)
    queue.put("one\n")
    assert queue.flush(5)
    os.close(descriptor)
    assert queue.dropped == 1


async def test_a_descriptor_that_does_not_block_is_waited_for(pipe: Pipe, told: list[int]) -> None:
    """Somebody who shares it made it so; that is no reason to drop anything."""
    pipe.fill()
    os.set_blocking(pipe.write_end, False)
    queue = queue_to(pipe.write_end, told)
    queue.put("one\n")
    assert await read_until(pipe, "one\n") == "one\n"
    assert queue.flush(5)
    assert queue.dropped == 0


async def test_a_stream_passes_whole_lines_on(pipe: Pipe, told: list[int]) -> None:
    """The interpreter writes a warning in pieces."""
    queue = queue_to(pipe.write_end, told)
    print("a", "warning", file=LogStream(queue))
    assert queue.flush(5)
    assert pipe.read() == "a warning\n"


# --- the process


@asynccontextmanager
async def child(variables: dict[str, str], stderr: int | None, *command: str) -> AsyncIterator[Process]:
    """Start a forwarder with this for its standard error."""
    process = await asyncio.create_subprocess_exec(
        *(command or (sys.executable, "-m", "app", "run")),
        env={"PATH": os.environ["PATH"], **measured(), **variables},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def everything_is_delivered(world: World) -> None:
    bodies = [b"cdr %d" % number for number in range(CDRS)]
    await world.redis.rpush(world.source, *bodies)
    await eventually(lambda: world.receiver.bodies.total() >= CDRS)
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == dict.fromkeys(bodies, 1)


async def stops(process: Process, deadline: float = 4) -> None:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(deadline):
        assert await process.wait() == 0


async def test_a_log_that_nobody_reads_stops_nothing(world: World, pipe: Pipe) -> None:
    """Not one byte more fits, and it talks about each CDR: all are delivered, and SIGTERM is obeyed."""
    pipe.fill()
    async with child(world.variables, pipe.write_end) as process:
        await everything_is_delivered(world)
        await stops(process)


async def test_a_log_reader_that_dies_stops_nothing(world: World, pipe: Pipe) -> None:
    """Whoever read it is gone in the midst of it: the same, and exit status 0."""
    async with child(world.variables, pipe.write_end) as process:
        pipe.close_writer()
        assert "service.started" in await asyncio.to_thread(pipe.read)
        pipe.close_reader()
        await everything_is_delivered(world)
        await stops(process)


async def test_a_standard_error_that_is_closed_stops_nothing(world: World) -> None:
    """Started without one: its number is soon that of a socket, into which no event may be written."""
    command = ("sh", "-c", 'exec "$0" -m app run 2>&-', sys.executable)
    async with child(world.variables, None, *command) as process:
        await everything_is_delivered(world)
        await stops(process)


async def test_the_last_lines_are_written_before_it_exits(world: World, tmp_path: Path) -> None:
    """All that was said until then, in order, one JSON object a line."""
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        async with child(world.variables, stderr.fileno()) as process:
            await everything_is_delivered(world)
            await stops(process)
    said = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert (said[0], said[-1], said.count("cdr.delivered")) == ("service.started", "service.stopped", CDRS)


async def test_what_libraries_say_is_an_event_too(tmp_path: Path) -> None:
    """Also what asyncio says of a task that nobody waited for, and what the interpreter warns of, never blocks."""
    code = (
        "import logging, os, sys, warnings\n"
        "from app.telemetry import log, stderr\n"
        "log.configure('info', 'json')\n"
        "logging.getLogger('asyncio').error('out of %s', 'cheese')\n"
        "warnings.warn('raw')\n"
        "stderr.flush(5)\n"
        "raise SystemExit(stderr.dropped())\n"
    )
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        async with child({}, stderr.fileno(), sys.executable, "-c", code) as process:
            assert await process.wait() == 0
    first, *rest = log.read_text().splitlines()
    event = json.loads(first)
    assert (event["event"], event["level"], event["library"]) == ("library.reported", "error", "asyncio")
    assert event["message"] == "out of cheese"
    assert re.search("UserWarning: raw", "\n".join(rest))


async def test_an_exit_flush_of_the_interpreter_does_not_change_the_exit_status(pipe: Pipe) -> None:
    """What was written to sys.stderr for a reader that is gone would be tried once more at exit."""
    pipe.close_reader()
    code = (
        "import sys, warnings\n"
        "from app.telemetry import log\n"
        "log.configure('info', 'json')\n"
        "warnings.warn('nobody reads this')\n"
        "sys.exit(3)\n"
    )
    async with child({}, pipe.write_end, sys.executable, "-c", code) as process:
        assert await process.wait() == 3


def test_a_pipe_without_a_reader_fails_as_the_tests_assume(pipe: Pipe) -> None:
    """Python ignores SIGPIPE, so that a write fails in place of ending the process."""
    pipe.close_reader()
    with pytest.raises(BrokenPipeError) as caught:
        os.write(pipe.write_end, b"x")
    assert caught.value.errno == errno.EPIPE
