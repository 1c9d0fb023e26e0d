"""What an attack is made on: a forwarder with few descriptors, and what is measured meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from socket import socket
from typing import Any, Final

from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis, free_port
from tests.support.forwarder import all_arrive, default_environment, numbered, owns_a_list, started_in
from tests.support.harness import Child, eventually
from tests.support.scripted import ScriptedReceiver

TOKEN: Final = "token-of-sixteen-characters"
DESCRIPTORS: Final = 256
AT_ONCE: Final = 50
MIB: Final = 2**20
HEALTH: Final = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True)
class Figures:
    """What an attack cost. `found`: what the attack itself has seen."""

    seconds: float
    memory: int
    """Bytes by which the peak grew."""
    log: int
    """Bytes."""
    descriptors: int
    deliveries: float
    """Per second, meanwhile."""
    slowest: float
    """Longest command in Redis, in ms."""
    found: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """A forwarder, and all that is around it."""

    forwarder: Child
    port: int
    client: Redis
    receiver: ScriptedReceiver
    source: str
    dead: str
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def memory(self) -> int:
        """Return the most memory that it ever had, in bytes."""
        lines = Path(f"/proc/{self.forwarder.process.pid}/status").read_text().splitlines()
        [peak] = [line for line in lines if line.startswith("VmHWM:")]
        return int(peak.split()[1]) * 1024

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.forwarder.process.pid}/fd").iterdir()))

    async def deliver(self) -> None:
        """Have some CDRs delivered, each over a connection of its own."""
        cdrs = numbered(f"round-{next(self._numbers)}", AT_ONCE)
        await self.client.rpush(self.source, *cdrs)
        await all_arrive(self.receiver, cdrs, within=20)

    async def ask(self, *requests: bytes) -> list[int]:
        """Send requests, each on a connection of its own, at once; return the status of each answer, 0 for none."""
        return list(await asyncio.gather(*map(self.status, requests)))

    async def status(self, request: bytes) -> int:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(request)
                    answer = await reader.read(65536)
                finally:
                    writer.close()
                return int(answer.split()[1]) if answer else 0
        return 0

    @contextmanager
    def connections(self) -> Iterator[Callable[[], socket]]:
        """Open connections that say nothing by themselves; they are closed in the end."""
        with ExitStack() as opened:

            def connect() -> socket:
                connection = opened.enter_context(socket())
                connection.setblocking(False)
                with suppress(BlockingIOError):
                    connection.connect(("127.0.0.1", self.port))
                return connection

            yield connect


Attack = Callable[[Scene], Awaitable[dict[str, Any]]]


async def measured(scene: Scene, attack: Attack) -> Figures:
    """Make the attack while CDRs are delivered, and say what it cost."""
    await scene.client.config_set("slowlog-log-slower-than", 1000)
    await scene.client.slowlog_reset()
    memory, log, began = scene.memory, scene.forwarder.log.stat().st_size, time.monotonic()
    attacking, rounds = asyncio.ensure_future(attack(scene)), 0
    while not attacking.done() or not rounds:
        await scene.deliver()
        rounds += 1
    seconds = time.monotonic() - began
    slow = [entry["duration"] for entry in await scene.client.slowlog_get(128)]
    return Figures(
        seconds=seconds,
        memory=scene.memory - memory,
        log=scene.forwarder.log.stat().st_size - log,
        descriptors=scene.descriptors,
        deliveries=rounds * AT_ONCE / seconds,
        slowest=max(slow, default=0) / 1000,
        found=await attacking,
    )


@asynccontextmanager
async def scene_on(redis: EmbeddedRedis, client: Redis, directory: Path, integrator: str) -> AsyncIterator[Scene]:
    """Run a forwarder with few descriptors, which connects to its endpoint anew for each CDR."""
    port = free_port()
    async with ScriptedReceiver() as receiver:
        given = default_environment(redis.url, integrator, webhook_url=receiver.url, webhook_keep_alive="false")
        variables = given | {"CDR_OPS_PORT": str(port), "CDR_OPS_TOKEN": TOKEN}
        limited = ("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh")
        async with started_in(limited, directory, variables) as forwarder:
            scene = Scene(forwarder, port, client, receiver, f"{integrator}-source", f"{integrator}:dead:cdr")
            await owns_a_list(client, integrator)
            await eventually(lambda: scene.status(HEALTH))
            yield scene
