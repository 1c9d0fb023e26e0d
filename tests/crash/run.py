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
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from tenacity import RetryError

from app.demo.embedded import EmbeddedRedis
from tests.crash.endpoint import Endpoint, HalfSick, down, well
from tests.crash.injuries import Injuries, pause
from tests.crash.ledger import Account, base_of, dead_in, deferred_in, left_in, lists_of, retry_sets_of
from tests.support.harness import environment, eventually, gone

INTEGRATOR = "crash"
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


@dataclass(frozen=True)
class Source:
    """A list that is written to, at its newest end."""

    name: str
    redis: EmbeddedRedis
    oldest: str = "head"

    @property
    def key(self) -> str:
        return f"{INTEGRATOR}-source" if self.name == "cdr" else f"{INTEGRATOR}-source-{self.name}"

    def client(self) -> Redis:
        """Return one that sends nothing twice: a push that is silently sent again would count as a duplicate."""
        return Redis.from_url(self.redis.url, protocol=2, retry=Retry(NoBackoff(), 0))

    async def push(self, client: Redis, body: bytes) -> None:
        await (client.rpush if self.oldest == "head" else client.lpush)(self.key, body)


Clients = Sequence[tuple[Source, Redis]]


class CrashRun:
    """One run: what was pushed, who was hurt, and what came of it. `pauses`: seconds between injuries."""

    pauses = (0.1, 0.6)

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
        self.sources = [Source("cdr", self.server("redis"))]

    def server(self, name: str) -> EmbeddedRedis:
        (self.directory / name).mkdir()
        return EmbeddedRedis(self.directory / name, server=self.asked.server, appendfsync="always")

    @property
    def servers(self) -> list[EmbeddedRedis]:
        return list({id(source.redis): source.redis for source in self.sources}.values())

    async def run(self) -> bool:
        """Return whether nothing was lost."""
        async with AsyncExitStack() as stack:
            for server in self.servers:
                await stack.enter_async_context(server)
            for endpoint in self.endpoints:
                await stack.enter_async_context(endpoint)
            injuries = Injuries(self.directory, self.variables(), self.servers, self.chance, self.pauses)
            stack.push_async_callback(injuries.end)
            await injuries.start(self.asked.replicas)
            await self.hurt(injuries)
            clients = [(source, await stack.enter_async_context(source.client())) for source in self.sources]
            await self.drain(clients)
            return await self.report(clients, injuries)

    def variables(self) -> dict[str, str]:
        urls = {f"endpoints__{endpoint.name}__url": endpoint.url for endpoint in self.endpoints}
        fans_out = len(self.endpoints) > 1
        return environment(
            self.sources[0].redis.url,
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
            for number in range(PUSHERS):
                tasks.create_task(self.push(self.sources[number % len(self.sources)]))
            tasks.create_task(injuries.run(self.over))
            if self.asked.sick:
                tasks.create_task(self.be_half_sick(self.endpoints[0]))
                for endpoint in self.endpoints[1:][-1:]:
                    tasks.create_task(self.be_down_and_up(endpoint))
            await pause(self.asked.seconds)
            self.over.set()

    async def push(self, source: Source) -> None:
        async with source.client() as client:
            while not self.over.is_set():
                await self.push_one(source, client, self.next_cdr(source))
                await pause(PUSHERS / self.asked.rate)

    async def push_one(self, source: Source, client: Redis, body: bytes) -> None:
        try:
            await source.push(client, body)
            self.pushed[body] += 1
        except (RedisError, OSError):
            self.unsure[body] += 1

    def next_cdr(self, source: Source) -> bytes:
        kind = self.chance.random()
        if kind < 0.25:
            return self.cdr(source, "twin", str(self.chance.randrange(5)))
        return self.cdr(source, "poison" if kind < 0.27 else "cdr", uuid.uuid4().hex)

    def cdr(self, _: Source, kind: str, identity: str) -> bytes:
        return f"{kind} {identity}".encode()

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

    async def drain(self, clients: Clients) -> None:
        """Wait until nothing is left. Meanwhile a CDR now and then shows that the endpoints take others."""
        for endpoint in self.endpoints:
            endpoint.judge = well
        async with asyncio.TaskGroup() as tasks:
            for source, client in clients:
                tasks.create_task(self.trickle(source, client))
            await holds_within(lambda: self.nothing_left(clients, deferred=True), self.asked.drain)
            self.drained.set()
        await holds_within(lambda: self.nothing_left(clients, deferred=not self.asked.allow_deferred), SETTLE_SECONDS)

    async def trickle(self, source: Source, client: Redis) -> None:
        while not self.drained.is_set():
            await self.push_one(source, client, self.cdr(source, "cdr", uuid.uuid4().hex))
            await pause(TRICKLE_PAUSE)

    async def nothing_left(self, clients: Clients, *, deferred: bool) -> bool:
        return all([await gone(client, *self.keys(source, deferred=deferred)) for source, client in clients])

    def bases(self) -> list[str]:
        """Return what the keys of each endpoint's lane begin with."""
        fans_out = len(self.endpoints) > 1
        return [base_of(INTEGRATOR, endpoint.name if fans_out else None) for endpoint in self.endpoints]

    def keys(self, source: Source, *, deferred: bool) -> list[str]:
        """Return where CDRs are on their way; with `deferred`, also where they wait for another try."""
        bases = {INTEGRATOR, *self.bases()}
        lists = [source.key, *(key for base in bases for key in lists_of(base, source.name))]
        return lists + [key for base in bases for key in retry_sets_of(base, source.name) if deferred]

    async def report(self, clients: Clients, injuries: Injuries) -> bool:
        """Print what came of it; return whether it is as promised."""
        accounts = [
            await self.account(clients, endpoint, base)
            for endpoint, base in zip(self.endpoints, self.bases(), strict=True)
        ]
        left: dict[str, int] = {}
        for source, client in clients:
            left |= await left_in(client, self.keys(source, deferred=not self.asked.allow_deferred))
        for account in accounts:
            print("\n".join(account.lines()), end="\n\n")
        print("injuries   ", ", ".join(f"{name} {number}" for name, number in sorted(injuries.counts.items())))
        print("storms     ", self.half_sick.storms)
        print("left behind", left or "nothing")
        print("ended badly", injuries.ended_badly or "none")
        return not left and not injuries.ended_badly and all(account.is_right for account in accounts)

    async def account(self, clients: Clients, endpoint: Endpoint, base: str) -> Account:
        dead, deferred = Counter[bytes](), Counter[bytes]()
        for source, client in clients:
            dead += await dead_in(client, base, source.name)
            deferred += await deferred_in(client, base, source.name)
        return Account(endpoint.name, self.pushed, self.unsure, endpoint.taken, dead, deferred, endpoint.answers)


async def holds_within(condition: Callable[[], bool | Awaitable[bool]], seconds: float) -> bool:
    try:
        return bool(await eventually(condition, seconds))
    except RetryError:
        return False


def main(run: type[CrashRun] = CrashRun) -> int:
    default = Asked()
    parser = argparse.ArgumentParser(description=__doc__)
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
        return 0 if asyncio.run(run(Path(directory), asked).run()) else 1


if __name__ == "__main__":
    sys.exit(main())
