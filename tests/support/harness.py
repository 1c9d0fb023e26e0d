"""What tests stand on: settings, a service in this process or as a child, and waiting for conditions."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from inspect import isawaitable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from tenacity import AsyncRetrying, retry_if_result, stop_after_delay, wait_fixed

from app.config.environment import load_settings
from app.config.settings import Settings
from app.config.timings import Timings
from app.service import Service
from tests.support import preloaded

DEADLINE = 20.0


async def eventually(condition: Callable[[], Any | Awaitable[Any]], deadline: float = DEADLINE) -> Any:
    """Wait until the condition is true, and return its value."""

    async def value() -> Any:
        found = condition()
        return await found if isawaitable(found) else found

    waiting = AsyncRetrying(
        retry=retry_if_result(lambda found: not found), wait=wait_fixed(0.01), stop=stop_after_delay(deadline)
    )
    return await waiting(value)


async def passed(seconds: float) -> None:
    """Wait for a time to pass in which something must not happen, or after which something is due."""
    end = time.monotonic() + seconds
    await eventually(lambda: time.monotonic() >= end)


async def gone(client: Redis, *keys: str) -> bool:
    return not await client.exists(*keys)


async def let_close() -> None:
    """Let what was closed a moment ago really close: a transport that its loop leaves behind is a warning."""
    for _ in range(3):
        await asyncio.sleep(0)


def environment(redis_url: str, webhook_url: str, integrator: str, **variables: str) -> dict[str, str]:
    """Return CDR_* variables for a quick forwarder; names of `variables` are without CDR_, in lower case."""
    quick = {
        "redis_url": redis_url,
        "webhook_url": webhook_url,
        "integrator": integrator,
        "source_key": f"{integrator}-source",
        "lease": "2",
        "sweep_interval": "1",
        "webhook_backoff": "0.01",
        "shutdown_grace": "5",
        "ops_port": "0",
        "log_level": "debug",
        "log_format": "json",
    }
    return {f"CDR_{name.upper()}": value for name, value in (quick | variables).items()}


def settings_from(variables: Mapping[str, str]) -> Settings:
    return load_settings(variables, dotenv=None)


@asynccontextmanager
async def running(settings: Settings, timings: Timings | None = None) -> AsyncIterator[Service]:
    """Run the service in this process, and stop it as SIGTERM would."""
    service = Service(settings, timings)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(service.run())
        try:
            yield service
        finally:
            if not work.done():
                service.stop()
    await let_close()


def measured() -> dict[str, str]:
    """Return what lets coverage see a child process too; nothing where it is not measured."""
    return {name: os.environ[name] for name in ("COVERAGE_PROCESS_CONFIG",) if name in os.environ}


async def started(environment: Mapping[str, str], arguments: Sequence[str], output: Path) -> Process:
    """Start the program in an interpreter of its own, which takes half a second of CPU to load it."""
    with output.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", *arguments),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


class Child:
    """`python -m app` as a child process, its events in a file."""

    def __init__(self, process: preloaded.Running, log: Path) -> None:
        self.process = process
        self.log = log

    @classmethod
    async def start(
        cls, directory: Path, variables: Mapping[str, str], *arguments: str, fresh: bool = False
    ) -> "Child":
        """Run it with these variables and no others. It is forked where that makes no difference, and may be."""
        log = directory / f"child-{os.urandom(4).hex()}.log"
        log.touch()
        env = {"PATH": os.environ["PATH"], **measured(), **variables}
        start = started if fresh or not preloaded.is_possible(env) else preloaded.fork
        return cls(await start(env, arguments, log), log)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, deadline: float = DEADLINE) -> int:
        async with asyncio.timeout(deadline):
            return await self.process.wait()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        # The last line may still be written.
        told = self.log.read_text().rpartition("\n")[0].splitlines()
        lines = [json.loads(line) for line in told if line.startswith("{")]
        return [line for line in lines if name in (None, line["event"])]
