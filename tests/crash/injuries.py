"""What is done to replicas, and to Redis, while they work."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.support.harness import Child

STOPPED = {0, 3, -signal.SIGTERM}
"""Exit statuses of a replica that was told to stop: as asked, with an attempt cut off, before it had started."""


async def pause(seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


class Injuries:
    """Hurts replicas one at a time, and starts again what died; `counts` says how often and how.

    `ended_badly` are the exit statuses of replicas that nobody had killed.
    """

    def __init__(
        self,
        directory: Path,
        variables: Mapping[str, str],
        servers: Sequence[EmbeddedRedis],
        chance: random.Random,
        pauses: tuple[float, float],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.ended_badly: list[int] = []
        self._directory = directory
        self._variables = variables
        self._servers = servers
        self._pauses = pauses
        self._chance = chance
        self._replicas: list[Child] = []

    async def start(self, number: int) -> None:
        self._replicas = [await self._start_replica() for _ in range(number)]

    async def run(self, over: asyncio.Event) -> None:
        injuries: list[Callable[[], Awaitable[None]]] = [
            self._kill,
            self._freeze,
            self._stop,
            self._kill_redis,
            self._cut,
        ]
        while not over.is_set():
            await pause(self._chance.uniform(*self._pauses))
            (injury,) = self._chance.choices(injuries, (50, 25, 10, 10, 5))
            await injury()

    async def end(self) -> None:
        for replica in self._replicas:
            await self._end(replica)

    async def _kill(self) -> None:
        self.counts["kills"] += 1
        number = self._any()
        await self._end(self._replicas[number])
        self._replicas[number] = await self._start_replica()

    async def _freeze(self) -> None:
        """Stop it for a while that may be longer than its lease."""
        replica = self._replicas[self._any()]
        if replica.process.returncode is not None:
            return
        self.counts["freezes"] += 1
        replica.signal(signal.SIGSTOP)
        await pause(self._chance.uniform(0.5, 3.5))
        replica.signal(signal.SIGCONT)

    async def _stop(self) -> None:
        self.counts["stops"] += 1
        number = self._any()
        replica = self._replicas[number]
        if replica.process.returncode is None:
            replica.signal(signal.SIGTERM)
        status = await replica.ended()
        if status not in STOPPED:
            self.ended_badly.append(status)
        self._replicas[number] = await self._start_replica()

    async def _kill_redis(self) -> None:
        self.counts["redis kills"] += 1
        server = self._chance.choice(self._servers)
        await asyncio.to_thread(server.kill)
        await pause(self._chance.uniform(0, 2.5))
        await asyncio.to_thread(server.start)

    async def _cut(self) -> None:
        """Cut all connections to a Redis."""
        self.counts["cuts"] += 1
        async with Redis.from_url(self._chance.choice(self._servers).url, protocol=2) as client:
            await client.client_kill_filter(_type="normal", skipme=True)

    async def _end(self, replica: Child) -> None:
        if replica.process.returncode is not None:
            self.ended_badly.append(replica.process.returncode)
        await replica.kill()

    async def _start_replica(self) -> Child:
        return await Child.start(self._directory, self._variables, "run", fresh=True)

    def _any(self) -> int:
        return self._chance.randrange(len(self._replicas))
