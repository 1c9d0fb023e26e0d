"""Replicas under continuous injury: `python -m tests.crash.run --seconds 60` prints what was lost.

kill -9, SIGSTOP for longer than the lease, SIGTERM, Redis killed and restarted, with twins and poison among the CDRs.
The first endpoint is half sick (`endpoint.HalfSick`), the last of several is down half of the time, the others are
well. Then the faults end, all endpoints are well, and everything must drain. Exit status 1 where a CDR was lost, where
a dead letter is no poison, where something was left behind, or where a replica ended by itself.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from tenacity import RetryError

from app.demo.embedded import EmbeddedRedis
from tests.crash.endpoint import POISON, Endpoint, HalfSick, down, well
from tests.crash.injuries import Injuries, pause
from tests.crash.ledger import Account, base_of, dead_in, deferred_in, left_in, lists_of, retry_sets_of
from tests.support.harness import environment, eventually, gone

INTEGRATOR = "crash"
SOURCE = f"{INTEGRATOR}-source"
DOWN_SECONDS = 3.0
STORM_SECONDS = (1.0, 3.0)
STORMS_SHARE = 0.05
PUSHERS = 8
"""Several, since each waits for the disk of Redis."""

TRICKLE_PAUSE = 0.2
SETTLE_SECONDS = 60.0
"""What the lists still get when the drain is over."""


@dataclass(frozen=True)
class Asked:
    """How long, how many, and how bad. Durations are seconds.

    `drain` is long because a dead letter needs two rejections a minute apart, with a CDR taken between them.
    `allow_deferred`: what still waits in a retry set at its end is accounted for.
    """

    seconds: float = 60.0
    drain: float = 150.0
    allow_deferred: bool = False
    replicas: int = 3
    endpoints: int = 3
    sick: bool = True
    concurrency: int = 32
    rate: float = 300.0
    seed: int | None = None
    server: Path | None = None


class CrashRun:
    """One run: what was pushed, who was hurt, and what came of it."""

    def __init__(self, directory: Path, asked: Asked) -> None:
        self.directory = directory
        self.asked = asked
        self.chance = random.Random(asked.seed)
        self.pushed: Counter[bytes] = Counter()
        self.unsure: Counter[bytes] = Counter()
        self.over = asyncio.Event()
        self.drained = asyncio.Event()
        self.half_sick = HalfSick(self.chance)
        self.endpoints = [Endpoint(f"e{number}") for number in range(asked.endpoints)]
        (directory / "redis").mkdir()
        self.redis = EmbeddedRedis(directory / "redis", server=asked.server, appendfsync="always")

    async def run(self) -> bool:
        """Return whether nothing was lost."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.redis)
            for endpoint in self.endpoints:
                await stack.enter_async_context(endpoint)
            injuries = Injuries(self.directory, self.variables(), self.redis, self.chance)
            stack.push_async_callback(injuries.end)
            await injuries.start(self.asked.replicas)
            await self.hurt(injuries)
            client = await stack.enter_async_context(self.client())
            await self.drain(client)
            return await self.report(client, injuries)

    def client(self) -> Redis:
        """Return one that sends nothing twice: a push that is silently sent again would count as a duplicate."""
        return Redis.from_url(self.redis.url, protocol=2, retry=Retry(NoBackoff(), 0))

    def variables(self) -> dict[str, str]:
        urls = {f"endpoints__{endpoint.name}__url": endpoint.url for endpoint in self.endpoints}
        fans_out = len(self.endpoints) > 1
        return environment(
            self.redis.url,
            "" if fans_out else self.endpoints[0].url,
            INTEGRATOR,
            log_level="info",
            webhook_timeout="5",
            webhook_backoff_max="5",
            webhook_concurrency=str(self.asked.concurrency),
            **(urls if fans_out else {}),
        )

    async def hurt(self, injuries: Injuries) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(PUSHERS):
                tasks.create_task(self.push())
            tasks.create_task(injuries.run(self.over))
            if self.asked.sick:
                tasks.create_task(self.be_half_sick(self.endpoints[0]))
                for endpoint in self.endpoints[1:][-1:]:
                    tasks.create_task(self.be_down_and_up(endpoint))
            await pause(self.asked.seconds)
            self.over.set()

    async def push(self) -> None:
        async with self.client() as client:
            while not self.over.is_set():
                await self.push_one(client, self.next_cdr())
                await pause(PUSHERS / self.asked.rate)

    async def push_one(self, client: Redis, body: bytes) -> None:
        try:
            await client.rpush(SOURCE, body)
            self.pushed[body] += 1
        except (RedisError, OSError):
            self.unsure[body] += 1

    def next_cdr(self) -> bytes:
        kind = self.chance.random()
        if kind < 0.25:
            return b"twin %d" % self.chance.randrange(5)
        return (POISON if kind < 0.27 else b"cdr") + b" " + uuid.uuid4().hex.encode()

    async def be_half_sick(self, endpoint: Endpoint) -> None:
        """Have a storm now and then: 5 % of the time, or three of them where the run is too short for that."""
        endpoint.judge = self.half_sick.judge
        while not self.over.is_set():
            storm = self.chance.uniform(*STORM_SECONDS)
            await self.unless_over(min(storm / STORMS_SHARE - storm, self.asked.seconds / 4))
            self.half_sick.begin_storm()
            await self.unless_over(storm)
            self.half_sick.end_storm()

    async def be_down_and_up(self, endpoint: Endpoint) -> None:
        while not self.over.is_set():
            endpoint.judge = down
            await self.unless_over(DOWN_SECONDS)
            endpoint.judge = well
            await self.unless_over(DOWN_SECONDS)

    async def unless_over(self, seconds: float) -> None:
        """Wait for so long, or for the end of the faults."""
        await holds_within(self.over.is_set, seconds)

    async def drain(self, client: Redis) -> None:
        """Wait until nothing is left. Meanwhile a CDR now and then shows that the endpoints take others."""
        for endpoint in self.endpoints:
            endpoint.judge = well
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.trickle(client))
            await holds_within(lambda: gone(client, *self.lists(), *self.retry_sets()), self.asked.drain)
            self.drained.set()
        await holds_within(lambda: gone(client, *self.must_be_gone()), SETTLE_SECONDS)

    async def trickle(self, client: Redis) -> None:
        while not self.drained.is_set():
            await self.push_one(client, b"cdr " + uuid.uuid4().hex.encode())
            await pause(TRICKLE_PAUSE)

    def bases(self) -> list[str]:
        """Return what the keys of each endpoint's lane begin with."""
        fans_out = len(self.endpoints) > 1
        return [base_of(INTEGRATOR, endpoint.name if fans_out else None) for endpoint in self.endpoints]

    def lists(self) -> list[str]:
        return [SOURCE, *(key for base in {INTEGRATOR, *self.bases()} for key in lists_of(base))]

    def retry_sets(self) -> list[str]:
        return [key for base in {INTEGRATOR, *self.bases()} for key in retry_sets_of(base)]

    def must_be_gone(self) -> list[str]:
        return self.lists() if self.asked.allow_deferred else [*self.lists(), *self.retry_sets()]

    async def report(self, client: Redis, injuries: Injuries) -> bool:
        """Print what came of it; return whether it is as promised."""
        accounts = [
            await self.account(client, endpoint, base)
            for endpoint, base in zip(self.endpoints, self.bases(), strict=True)
        ]
        left = await left_in(client, self.must_be_gone())
        for account in accounts:
            print("\n".join(account.lines()), end="\n\n")
        print("injuries   ", ", ".join(f"{name} {number}" for name, number in sorted(injuries.counts.items())))
        print("storms     ", self.half_sick.storms)
        print("left behind", left or "nothing")
        print("ended badly", injuries.ended_badly or "none")
        return not left and not injuries.ended_badly and all(account.is_right for account in accounts)

    async def account(self, client: Redis, endpoint: Endpoint, base: str) -> Account:
        dead, deferred = await dead_in(client, base), await deferred_in(client, base)
        return Account(endpoint.name, self.pushed, self.unsure, endpoint.taken, dead, deferred, endpoint.answers)


async def holds_within(condition: Callable[[], bool | Awaitable[bool]], seconds: float) -> bool:
    try:
        return bool(await eventually(condition, seconds))
    except RetryError:
        return False


def main() -> int:
    default = Asked()
    parser = argparse.ArgumentParser(prog="python -m tests.crash.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=default.seconds, help="of faults")
    parser.add_argument("--drain", type=float, default=default.drain, help="seconds, at most, after the faults")
    parser.add_argument("--allow-deferred", action="store_true", help="for a drain too short for dead letters")
    parser.add_argument("--replicas", type=int, default=default.replicas)
    parser.add_argument("--endpoints", type=int, default=default.endpoints)
    parser.add_argument("--sick", action=argparse.BooleanOptionalAction, default=True, help="endpoints misbehave")
    parser.add_argument("--concurrency", type=int, default=default.concurrency)
    parser.add_argument("--rate", type=float, default=default.rate, help="CDRs a second")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--server", type=Path, help="a redis-server; else the first that is found")
    asked = Asked(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory() as directory:
        return 0 if asyncio.run(CrashRun(Path(directory), asked).run()) else 1


if __name__ == "__main__":
    sys.exit(main())
