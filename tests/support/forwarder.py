"""A forwarder as its users run it: a process with default pauses, and what tests ask about it."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from tenacity import RetryError

from tests.support.harness import Child, eventually, measured
from tests.support.scripted import ScriptedReceiver


def default_environment(redis_url: str, integrator: str, **variables: str) -> dict[str, str]:
    """Return CDR_* variables that change no pause; names of `variables` are without CDR_, in lower case."""
    given = {
        "redis_url": redis_url,
        "integrator": integrator,
        "source_key": f"{integrator}-source",
        "ops_port": "0",
        "log_format": "json",
    }
    return {f"CDR_{name.upper()}": value for name, value in (given | variables).items()}


async def owns_a_list(client: Redis, integrator: str, slot: int = 1) -> None:
    """Wait until somebody owns the processing list of this slot."""
    number = "" if slot == 1 else f":{slot}"
    owner = f"{integrator}:processing:cdr{number}:owner"
    await eventually(lambda: client.exists(owner))


def numbered(name: str, number: int) -> list[bytes]:
    return [f'{{"type": "cdr", "payload": {{"call_ref": "{name}-{count}"}}}}'.encode() for count in range(number)]


async def all_arrive(receiver: ScriptedReceiver, bodies: Iterable[bytes], within: float) -> None:
    """Wait until each of them was answered 2xx; fails with how many were not."""
    wanted = set(bodies)
    with suppress(RetryError):
        await eventually(lambda: wanted <= receiver.taken.keys(), within)
    missing = sorted(wanted - receiver.taken.keys())
    some = [body[:80] for body in missing[:3]]
    assert not missing, f"{len(missing)} of {len(wanted)} not within {within} s: {some}"


async def is_told(forwarder: Child, name: str, within: float) -> dict[str, Any]:
    """Wait for an event of this name, and return the first."""
    with suppress(RetryError):
        await eventually(lambda: forwarder.events(name), within)
    told = forwarder.events(name)
    assert told, f"no {name} within {within} s; told: {[event['event'] for event in forwarder.events()][:20]}"
    return told[0]


def errors_that_name(forwarder: Child, text: str) -> list[dict[str, Any]]:
    """Return the error events in which this text stands, whatever their letters' case."""
    errors = [event for event in forwarder.events() if event["level"] == "error"]
    return [event for event in errors if text.lower() in str(event).lower()]


def is_up(forwarder: Child) -> bool:
    return forwarder.process.returncode is None


@asynccontextmanager
async def started_in(prefix: Iterable[str], directory: Path, variables: Mapping[str, str]) -> AsyncIterator[Child]:
    """Run a forwarder behind a command prefix; it is killed in the end."""
    log = directory / f"child-{os.urandom(4).hex()}.log"
    with log.open("wb") as stderr:
        process = await _launch(variables, stderr.fileno(), *prefix)
    child = Child(process, log)
    try:
        yield child
    finally:
        await child.kill()


class Piped:
    """A forwarder whose standard error is a pipe, which its reader may leave unread, or close."""

    def __init__(self, process: Process, reader: int) -> None:
        self.process = process
        self._reader: int | None = reader
        self.said = b""

    def read(self) -> bytes:
        """Take what is in the pipe, without waiting, and return all that was ever said."""
        with suppress(BlockingIOError):
            while self._reader is not None and (piece := os.read(self._reader, 65_536)):
                self.said += piece
        return self.said

    def close(self) -> None:
        """Die, as a log reader may."""
        if self._reader is not None:
            os.close(self._reader)
            self._reader = None


@asynccontextmanager
async def piped(variables: Mapping[str, str]) -> AsyncIterator[Piped]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        forwarder = Piped(await _launch(variables, writer), reader)
    finally:
        os.close(writer)
    try:
        yield forwarder
    finally:
        if forwarder.process.returncode is None:
            forwarder.process.kill()
        await forwarder.process.wait()
        forwarder.close()


async def _launch(variables: Mapping[str, str], stderr: int, *prefix: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(*prefix, sys.executable, "-m", "app", "run"),
        env={"PATH": os.environ["PATH"], **measured(), **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=stderr,
    )
