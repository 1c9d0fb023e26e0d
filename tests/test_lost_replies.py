"""A command is lost, or it is carried out and its reply is lost: for every kind of command that we send."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.harness import environment, eventually, gone, running, settings_from
from tests.proxy import RedisProxy, at_random, nth
from tests.receiver import Receiver

OFTEN = (
    "BLMOVE",
    "exchange of acks and claims",
    "exchange of acks",
    "bury",
    "park",
    "page",
    "HMGET",
    "survey",
    "renew",
)
"""What one forwarder sends at least three times in the work below."""

ONCE = (
    *("exchange of claims", "exchange in vain", "BLMOVE in vain", "adopt"),
    *("INFO", "rehearse", "MGET", "SCAN", "take", "SCRIPT LOAD", "NOSCRIPT", "release", "CLIENT LIST"),
    *("sample", "CLIENT UNBLOCK"),
)

OUTCOMES = (*OFTEN, *ONCE)
"""Told apart by name and by what came of them; `test_every_command_is_in_the_list` finds what is missing here."""

COMMANDS = sorted({outcome.split(" in vain")[0].split(" of ")[0] for outcome in OUTCOMES} - {"NOSCRIPT"})

SOMETIMES = {"LLEN"}
"""Only read, for the last line of an outage, where the order of events has made one."""

CONNECTION_SETUP = {"CLIENT SETNAME", "CLIENT SETINFO", "SELECT"}

STRAYS = Counter({b"stray": 2, b"twin": 1})
ORPHANS = Counter({b"orphan": 2, b"twin": 1})
BACKLOG = Counter({b"twin": 20, b"poison": 3, b"flaky": 3, b"": 2, b"\r\n$-1\r\n": 2, b"\xff\x00": 1})
LATE = Counter({b"late": 2, b"twin": 2})

PUSHED = STRAYS + ORPHANS + BACKLOG + LATE
REJECTED = Counter({b"poison": 3})


@dataclass
class World:
    """A forwarder's work: strays, orphans, a backlog, and CDRs that come one by one; some are refused or rejected."""

    proxy: RedisProxy
    client: Redis
    receiver: Receiver
    integrator: str

    def __post_init__(self) -> None:
        self.source = f"{self.integrator}-source"
        self.processing = f"{self.integrator}:processing:cdr"
        self.orphaned = f"{self.processing}:7"
        self.failing = f"{self.integrator}:failing:cdr"
        self._refusals = Counter({b"flaky": 3})
        self.receiver.judge = self._judge

    def _judge(self, body: bytes) -> int:
        self._refusals[body] -= 1
        refusal = 400 if body in REJECTED else 503
        return refusal if body in REJECTED or self._refusals[body] >= 0 else 204

    async def forward_all(self) -> None:
        """Run a forwarder until it has done all its work."""
        for key, cdrs in ((self.processing, STRAYS), (self.orphaned, ORPHANS), (self.source, BACKLOG)):
            await self.client.rpush(key, *cdrs.elements())
        quick = {"lease": "0.5", "sweep_interval": "0.2", "webhook_attempts": "1", "webhook_concurrency": "4"}
        async with running(settings_from(environment(self.proxy.url, self.receiver.url, self.integrator, **quick))):
            await eventually(self.is_done, deadline=60)
            for cdr in LATE.elements():
                await eventually(lambda: self.proxy.open["BLMOVE"])
                await self.client.rpush(self.source, cdr)
                await eventually(self.is_done, deadline=60)

    async def is_done(self) -> bool:
        return await gone(self.client, self.source, self.processing, self.orphaned, self.failing)

    async def dead(self) -> Counter[bytes]:
        letters = await self.client.lrange(f"{self.integrator}:dead:cdr", 0, -1)
        return Counter(json.loads(letter)["cdr"].encode() for letter in letters)

    async def assert_nothing_was_lost(self) -> None:
        """Every payload was taken as often as it was pushed, or more; what was rejected is dead, once each."""
        assert await self.is_done()
        assert PUSHED - REJECTED - self.receiver.bodies == Counter()
        assert await self.dead() == REJECTED

    def assert_nothing_came_twice(self) -> None:
        """Only a process or a lease that ends may cost that, and here none does."""
        assert self.receiver.bodies == PUSHED - REJECTED


@pytest.fixture
async def proxy(redis_server: EmbeddedRedis) -> AsyncIterator[RedisProxy]:
    async with RedisProxy(redis_server) as proxy:
        yield proxy


@pytest.fixture
async def world(
    proxy: RedisProxy, client: Redis, receiver: Receiver, integrator: str, monkeypatch: pytest.MonkeyPatch
) -> World:
    await client.script_flush()
    monkeypatch.setattr("app.store.queue.WAIT", 0.2)
    return World(proxy, client, receiver, integrator)


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("outcome", OFTEN)
async def test_nothing_is_lost_with_a_reply(outcome: str, first: int, world: World) -> None:
    """Redis did it and nobody was told: twins are neither acked nor delivered in each other's place."""
    world.proxy.loses = nth("reply", outcome, first)
    await world.forward_all()
    assert world.proxy.lost["reply", outcome]
    await world.assert_nothing_was_lost()
    world.assert_nothing_came_twice()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("outcome", ONCE)
async def test_nothing_is_lost_with_a_reply_at_start_or_stop(outcome: str, times: int, world: World) -> None:
    """Likewise for what is sent only now and then; twice: also the reply to its repetition, if it is repeated."""
    world.proxy.loses = nth("reply", outcome, times=times)
    await world.forward_all()
    assert world.proxy.lost["reply", outcome]
    await world.assert_nothing_was_lost()
    world.assert_nothing_came_twice()


@pytest.mark.parametrize("command", COMMANDS)
async def test_nothing_is_lost_with_a_command(command: str, world: World) -> None:
    """Redis never got it, which looks the same from here as a lost reply."""
    world.proxy.loses = nth("command", command, times=2)
    await world.forward_all()
    assert world.proxy.lost["command", command]
    await world.assert_nothing_was_lost()
    world.assert_nothing_came_twice()


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_when_much_is(seed: int, world: World) -> None:
    """One in ten commands and one in ten replies are lost, of every kind."""
    world.proxy.loses = at_random(seed, 1 / 10)
    await world.forward_all()
    assert world.proxy.lost.total() > 10
    await world.assert_nothing_was_lost()


@pytest.mark.parametrize("outcome", ["BLMOVE", "exchange of claims"])
async def test_a_claim_whose_reply_is_lost_is_looked_for_at_once(
    outcome: str, proxy: RedisProxy, client: Redis, receiver: Receiver, variables: dict[str, str], source: str
) -> None:
    """Not only with the next sweep, which may be long away."""
    proxy.loses = nth("reply", outcome)
    seldom = {"CDR_SWEEP_INTERVAL": "3600", "CDR_REDIS_URL": proxy.url}
    async with running(settings_from(variables | seldom)):
        await eventually(lambda: proxy.seen["take"] and proxy.open["BLMOVE"])
        await client.rpush(source, "a", "b", "b")
        await eventually(lambda: proxy.lost["reply", outcome])
        await eventually(lambda: receiver.bodies == {b"a": 1, b"b": 2})


async def test_an_ack_that_is_sent_again_leaves_a_twin_alone(
    proxy: RedisProxy, client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """It stays in processing for as long as it is being delivered itself."""
    proxy.loses = nth("reply", "exchange of acks")
    first, second = asyncio.Event(), asyncio.Event()
    async with running(settings_from(variables | {"CDR_REDIS_URL": proxy.url})):
        for number, receiver.gate in enumerate((first, second), start=1):
            await client.rpush(source, "twin")
            await eventually(partial(lambda all_of_them: receiver.at_the_gate == all_of_them, number))
        first.set()
        await eventually(lambda: proxy.seen["exchange again"])
        assert await client.lrange(processing, 0, -1) == [b"twin"]
        second.set()
        await eventually(lambda: gone(client, processing))
    assert receiver.bodies == {b"twin": 2}


async def test_every_command_is_in_the_list(world: World) -> None:
    """A new kind of command, or of what comes of one, needs a test of its lost reply."""
    await world.forward_all()
    assert world.proxy.seen.keys() - CONNECTION_SETUP - SOMETIMES == set(OUTCOMES)
