"""Replicas under continuous injury: `python -m tests.crash.run --seconds 60` prints what was lost.

kill -9, SIGSTOP for longer than the lease, SIGTERM, Redis killed and restarted, and an endpoint that misbehaves,
with twins and poison among the CDRs. Exit status 1 where anything was lost or left behind.
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
from contextlib import suppress
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.embedded import EmbeddedRedis
from tests.harness import Child, environment, eventually, gone
from tests.receiver import Receiver

INTEGRATOR = "crash"
SOURCE = f"{INTEGRATOR}-source"
LISTS = [f"{INTEGRATOR}:processing:cdr", *(f"{INTEGRATOR}:processing:cdr:{slot}" for slot in range(2, 65))]


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
        self.receiver = Receiver()
        (directory / "redis").mkdir()
        self.redis = EmbeddedRedis(directory / "redis", appendfsync="always")
        self.replicas: list[Child] = []

    async def run(self) -> bool:
        """Return whether nothing was lost."""
        self.receiver.judge = self.judge
        async with self.redis, self.receiver:
            self.replicas = [await self.start_replica() for _ in range(self.asked.replicas)]
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.push())
                tasks.create_task(self.injure())
                await self.pause(self.asked.seconds)
                self.over.set()
            self.receiver.judge = lambda body: 400 if body.startswith(b"poison") else 204
            async with self.client() as client:
                await eventually(lambda: gone(client, SOURCE, *LISTS), deadline=60)
                result = await self.report(client)
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

    async def start_replica(self) -> Child:
        variables = environment(
            self.redis.url,
            self.receiver.url,
            INTEGRATOR,
            log_level="info",
            webhook_attempts="3",
            webhook_concurrency=str(self.asked.concurrency),
        )
        return await Child.start(self.directory, variables, "run")

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

    async def report(self, client: Redis) -> bool:
        letters = await client.lrange(f"{INTEGRATOR}:dead:cdr", 0, -1)
        dead = Counter(json.loads(letter)["cdr"].encode() for letter in letters)
        arrived = self.receiver.bodies + dead
        lost = self.pushed - arrived
        twice = arrived - self.pushed - self.unsure
        wrongly_dead = [body for body in dead if not body.startswith(b"poison")]
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
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        return 0 if asyncio.run(CrashRun(Path(directory), asked).run()) else 1


if __name__ == "__main__":
    sys.exit(main())
