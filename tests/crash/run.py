"""Replicas under continuous injury: `python -m tests.crash.run --seconds 60` prints what was lost.

kill -9, SIGSTOP for longer than the lease, SIGTERM, Redis killed and restarted, and endpoints that misbehave, with
twins and poison among the CDRs; of several endpoints (`--endpoints 3`) one is down half of the time.
Exit status 1 where anything was lost or left behind.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.config.settings import Settings
from app.demo.embedded import EmbeddedRedis
from tests.fault_points import lists_of
from tests.harness import Child, environment, eventually, gone, settings_from
from tests.receiver import Receiver

INTEGRATOR = "crash"
SOURCE = f"{INTEGRATOR}-source"
DOWN_FOR = 3.0
"""Seconds, and then as long up."""


class CrashRun:
    """One run: what was pushed, who was hurt, and what came of it."""

    def __init__(self, directory: Path, asked: argparse.Namespace) -> None:
        self.directory = directory
        self.asked = asked
        self.chance = random.Random(asked.seed)
        self.pushed: Counter[bytes] = Counter()
        self.unsure: Counter[bytes] = Counter()
        self.injuries: Counter[str] = Counter()
        self.over = asyncio.Event()
        self.receivers = [Receiver() for _ in range(asked.endpoints)]
        (directory / "redis").mkdir()
        self.redis = EmbeddedRedis(directory / "redis", server=asked.server, appendfsync="always")
        self.replicas: list[Child] = []

    async def run(self) -> bool:
        """Return whether nothing was lost."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.redis)
            for receiver in self.receivers:
                await stack.enter_async_context(receiver)
                receiver.judge = self.judge
            self.replicas = [await self.start_replica() for _ in range(self.asked.replicas)]
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.push())
                tasks.create_task(self.injure())
                tasks.create_task(self.go_down())
                await self.pause(self.asked.seconds)
                self.over.set()
            for receiver in self.receivers:
                receiver.judge = lambda body: 400 if body.startswith(b"poison") else 204
            async with self.client() as client:
                await eventually(lambda: gone(client, *lists_of(self.settings())), deadline=60)
                result = all([await self.report(client, number) for number in range(len(self.receivers))])
            for replica in self.replicas:
                await replica.kill()
        return result

    def client(self) -> Redis:
        return Redis.from_url(self.redis.url, protocol=2)

    def judge(self, body: bytes) -> int:
        if body.startswith(b"poison"):
            return 400
        return 500 if self.chance.random() < 0.08 else 204

    async def pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.Event().wait()

    async def go_down(self) -> None:
        """The last of several endpoints, again and again."""
        while len(self.receivers) > 1 and not self.over.is_set():
            self.receivers[-1].judge = lambda _: 503
            await self.pause(DOWN_FOR)
            self.receivers[-1].judge = self.judge
            await self.pause(DOWN_FOR)

    def variables(self) -> dict[str, str]:
        urls = {f"endpoints__e{number}__url": receiver.url for number, receiver in enumerate(self.receivers)}
        alone = len(self.receivers) == 1
        return environment(
            self.redis.url,
            self.receivers[0].url if alone else "",
            INTEGRATOR,
            log_level="info",
            webhook_attempts="3",
            webhook_concurrency=str(self.asked.concurrency),
            **({} if alone else urls),
        )

    def settings(self) -> Settings:
        return settings_from(self.variables())

    async def start_replica(self) -> Child:
        return await Child.start(self.directory, self.variables(), "run")

    async def push(self) -> None:
        async with self.client() as client:
            while not self.over.is_set():
                body = self.next_cdr()
                try:
                    await client.rpush(SOURCE, body)
                    self.pushed[body] += 1
                except (RedisError, OSError):
                    self.unsure[body] += 1
                await self.pause(1 / self.asked.rate)

    def next_cdr(self) -> bytes:
        kind = self.chance.random()
        if kind < 0.25:
            return b"twin %d" % self.chance.randrange(5)
        return (b"poison " if kind < 0.27 else b"cdr ") + uuid.uuid4().hex.encode()

    async def injure(self) -> None:
        injuries: list[Callable[[int], Awaitable[None]]] = [self.kill, self.freeze, self.stop, self.kill_redis]
        while not self.over.is_set():
            await self.pause(self.chance.uniform(0.1, 0.6))
            (injury,) = self.chance.choices(injuries, (55, 25, 10, 10))
            self.injuries[injury.__name__] += 1
            await injury(self.chance.randrange(len(self.replicas)))

    async def kill(self, number: int) -> None:
        await self.replicas[number].kill()
        self.replicas[number] = await self.start_replica()

    async def freeze(self, number: int) -> None:
        self.replicas[number].signal(signal.SIGSTOP)
        await self.pause(self.chance.uniform(0.5, 3.5))
        self.replicas[number].signal(signal.SIGCONT)

    async def stop(self, number: int) -> None:
        self.replicas[number].signal(signal.SIGTERM)
        await self.replicas[number].ended()
        self.replicas[number] = await self.start_replica()

    async def kill_redis(self, _: int) -> None:
        await asyncio.to_thread(self.redis.kill)
        await self.pause(self.chance.uniform(0, 2.5))
        await asyncio.to_thread(self.redis.start)

    async def report(self, client: Redis, number: int) -> bool:
        """Print what came of it at one endpoint; return whether nothing was lost there."""
        settings = self.settings()
        letters = await client.lrange(settings.lane_keys(settings.endpoints[number].name).dead, 0, -1)
        dead = Counter(json.loads(letter)["cdr"].encode() for letter in letters)
        arrived = self.receivers[number].bodies + dead
        lost = self.pushed - arrived
        twice = arrived - self.pushed - self.unsure
        wrongly_dead = [body for body in dead if not body.startswith(b"poison")]
        print("endpoint   ", settings.endpoints[number].name)
        print("injuries   ", dict(self.injuries))
        print("pushed     ", self.pushed.total())
        print("lost       ", lost.total())
        print(f"duplicates  {twice.total()} ({twice.total() / max(1, self.pushed.total()):.2%})")
        print("dead       ", dead.total(), "of which not poison:", len(wrongly_dead))
        return not lost and not wrongly_dead


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--rate", type=float, default=300, help="CDRs a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--endpoints", type=int, default=1)
    parser.add_argument("--server", type=Path, help="a redis-server; else the first that is found")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        return 0 if asyncio.run(CrashRun(Path(directory), asked).run()) else 1


if __name__ == "__main__":
    sys.exit(main())
