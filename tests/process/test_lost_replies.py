"""A command is lost, or it is carried out and its reply is lost: for every kind of command that we send."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from app.cdr import Cdr, History
from app.config.timings import Timings
from app.dead_letters.letter import dead_letter
from app.dead_letters.store import DeadStore
from app.service import Service
from app.store.client import Link
from app.store.keys import Topology
from tests.support.harness import environment, eventually, gone, running, settings_from
from tests.support.proxy import RedisProxy, Way, at_random, nth
from tests.support.receiver import Receiver
from tests.support.world import World

# The proxy hangs up in the middle of handshakes; asyncio leaves the transport of such a connection to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*_SelectorTransport:pytest.PytestUnraisableExceptionWarning")

OFTEN = (
    *("BLMOVE", "page", "survey", "renew", "report"),
    *("settle_and_claim acks", "settle_and_claim defers", "settle_and_claim claims", "settle_and_claim hands out"),
)
"""What one forwarder sends at least three times in the work below."""

ONCE = (
    *("settle_and_claim dead letters", "settle_and_claim gives back", "settle_and_claim in vain"),
    *("BLMOVE in vain", "adopt", "INFO", "rehearse", "SCAN", "take", "SCRIPT LOAD", "NOSCRIPT", "release"),
    *("CLIENT LIST", "sample", "minutes", "LPOP", "CLIENT UNBLOCK"),
)

OUTCOMES = {"settle_and_claim", *OFTEN, *ONCE}
"""Told apart by name and by what came of them; `test_every_command_is_in_the_list` finds what is missing here."""

COMMANDS = sorted({outcome.split(" in vain")[0].split("claim ")[0] for outcome in ONCE + OFTEN} - {"NOSCRIPT"})
COMMANDS = [command if command != "settle_and_" else "settle_and_claim" for command in COMMANDS]

SOMETIMES = {"adopt in vain", "EXISTS", "TYPE"}
"""Only where the order of events has made one."""

CONNECTION_SETUP = {"CLIENT SETNAME", "CLIENT SETINFO", "CLIENT SETINFO refused", "SELECT"}

STRAYS = Counter({b"stray": 2, b"twin": 1})
ORPHANS = Counter({b"orphan": 2, b"twin": 1})
BACKLOG = Counter({b"twin": 20, b"poison": 3, b"flaky": 3, b"": 2, b"\r\n$-1\r\n": 2, b"\xff\x00": 1})
OUTAGE = Counter(b"outage %d" % number for number in range(12))
LATE = Counter({b"late": 2, b"twin": 2})

PUSHED = STRAYS + ORPHANS + BACKLOG + OUTAGE + LATE
REJECTED = Counter({b"poison": 3})

QUICK: Final = Timings(
    claim_wait=0.2, idle_pause=0.1, between_rejections=0.3, visibility=0.5, first_probe=0.05, longest_probe=0.2
)
CONCURRENCY: Final = 4
THRESHOLD: Final = 4
LONG: Final = 60.0
"""Seconds that all the work may take while much is lost, on a busy machine."""


@dataclass
class Work:
    """A forwarder's work: strays, orphans, a backlog, an outage, and CDRs that come one by one.

    Some are refused at first, and some always.
    """

    world: World
    proxy: RedisProxy

    def __post_init__(self) -> None:
        self.orphaned = f"{self.world.processing}:7"
        self._refusals = Counter({b"flaky": 3})
        self._is_down = False
        self.world.receiver.judge = self._judge

    def _judge(self, body: bytes) -> int:
        if self._is_down:
            return 503
        self._refusals[body] -= 1
        refusal = 400 if body in REJECTED else 503
        return refusal if body in REJECTED or self._refusals[body] >= 0 else 204

    async def forward_all(self) -> None:
        """Run a forwarder until it has done all its work."""
        for key, cdrs in ((self.world.processing, STRAYS), (self.orphaned, ORPHANS), (self.world.source, BACKLOG)):
            await self.world.redis.rpush(key, *cdrs.elements())
        quick = {
            "redis_url": self.proxy.url,
            "lease": "0.5",
            "sweep_interval": "0.2",
            "webhook_timeout": "1",
            "webhook_connect_timeout": "1",
            "webhook_concurrency": str(CONCURRENCY),
            "webhook_breaker_threshold": str(THRESHOLD),
        }
        async with running(self.world.with_variables(**quick).settings, QUICK) as service:
            await eventually(partial(self._has_taken, STRAYS + ORPHANS + BACKLOG - REJECTED), deadline=LONG)
            await self._outage(service)
            for number in range(1, LATE.total() + 1):
                late = Counter(list(LATE.elements())[:number])
                await eventually(lambda: self.proxy.open["BLMOVE"])
                await self.world.redis.rpush(self.world.source, [*LATE.elements()][number - 1])
                await eventually(partial(self._has_taken, PUSHED - LATE + late - REJECTED), deadline=LONG)
            await eventually(self.is_done, deadline=LONG)

    async def _outage(self, service: Service) -> None:
        """Have the breaker open while CDRs wait in the inbox, and the endpoint come back."""
        self.world.receiver.gate.clear()
        await self.world.redis.rpush(self.world.source, *OUTAGE.elements())
        await eventually(lambda: self.world.receiver.at_the_gate == CONCURRENCY)
        await eventually(lambda: len(service.parts.lanes[0].lane.inbox) >= CONCURRENCY - 1)
        self._is_down = True
        self.world.receiver.gate.set()
        await eventually(lambda: service.parts.lanes[0].lane.is_shut)
        await eventually(lambda: not len(service.parts.lanes[0].lane.inbox))
        self._is_down = False
        await eventually(partial(self._has_taken, PUSHED - LATE - REJECTED), deadline=LONG)

    def _has_taken(self, cdrs: Counter[bytes]) -> bool:
        return not cdrs - self.world.receiver.bodies

    async def is_done(self) -> bool:
        return await gone(self.world.redis, *self.world.waiting, self.orphaned)

    async def dead(self) -> Counter[bytes]:
        letters = await self.world.redis.lrange(self.world.dead, 0, -1)
        return Counter(json.loads(letter)["cdr"].encode() for letter in letters)

    async def assert_nothing_was_lost(self) -> None:
        """Every payload was taken as often as it was pushed, or more; what was rejected is dead, once each."""
        assert await self.is_done()
        assert PUSHED - REJECTED - self.world.receiver.bodies == Counter()
        assert await self.dead() == REJECTED

    def assert_nothing_came_twice(self) -> None:
        """Only a process or a lease that ends may cost that, and here none does."""
        assert self.world.receiver.bodies == PUSHED - REJECTED


@pytest.fixture
async def work(world: World, proxy: RedisProxy) -> Work:
    await world.redis.script_flush()
    return Work(world, proxy)


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("outcome", OFTEN)
async def test_nothing_is_lost_with_a_reply(outcome: str, first: int, work: Work) -> None:
    """Redis did it and nobody was told: twins are neither acked nor delivered in each other's place."""
    work.proxy.loses = nth("reply", outcome, first)
    await work.forward_all()
    assert work.proxy.lost["reply", outcome]
    await work.assert_nothing_was_lost()
    work.assert_nothing_came_twice()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("outcome", ONCE)
async def test_nothing_is_lost_with_a_reply_at_start_or_stop(outcome: str, times: int, work: Work) -> None:
    """Likewise for what is sent only now and then; twice: also the reply to its repetition, if it is repeated."""
    work.proxy.loses = nth("reply", outcome, times=times)
    await work.forward_all()
    assert work.proxy.lost["reply", outcome]
    await work.assert_nothing_was_lost()
    work.assert_nothing_came_twice()


@pytest.mark.parametrize("command", COMMANDS)
async def test_nothing_is_lost_with_a_command(command: str, work: Work) -> None:
    """Redis never got it, which looks the same from here as a lost reply."""
    work.proxy.loses = nth("command", command, times=2)
    await work.forward_all()
    assert work.proxy.lost["command", command]
    await work.assert_nothing_was_lost()
    work.assert_nothing_came_twice()


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_when_much_is(seed: int, work: Work) -> None:
    """One in ten commands and one in ten replies are lost, of every kind."""
    work.proxy.loses = at_random(seed, 1 / 10)
    await work.forward_all()
    assert work.proxy.lost.total() > 10
    await work.assert_nothing_was_lost()


async def test_every_command_is_in_the_list(work: Work) -> None:
    """A new kind of command, or of what comes of one, needs a test of its lost reply."""
    await work.forward_all()
    assert work.proxy.seen.keys() - CONNECTION_SETUP - SOMETIMES == OUTCOMES


# --- several lanes


ENDPOINTS: Final = ("billing", "crm")
FANNED_OUT: Final = Counter({b"twin": 5} | {b"cdr %d" % number: 1 for number in range(200)})


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize(
    ("way", "name"),
    [("reply", "distribute"), ("command", "distribute"), ("reply", "BLMOVE"), ("reply", "adopt"), ("command", "adopt")],
)
async def test_nothing_is_lost_to_any_lane(
    way: Way, name: str, first: int, times: int, world: World, proxy: RedisProxy
) -> None:
    """What was distributed, or adopted, unseen reaches every endpoint once: in no lane twice, in none too rarely."""
    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(Receiver()) for _ in ENDPOINTS]
        urls = {f"endpoints__{name}__url": receiver.url for name, receiver in zip(ENDPOINTS, receivers, strict=True)}
        variables = environment(proxy.url, "", world.integrator, lease="0.5", sweep_interval="0.2", **urls)
        settings = settings_from(variables)
        topology = Topology(settings.sources[0])
        source, orphaned = settings.source_key, [topology.short.slot(number).processing for number in (7, 8, 9, 10)]
        for key in orphaned:
            await world.redis.rpush(key, "orphan")
        proxy.loses = nth(way, name, first, times)
        few = Timings(claim_wait=0.2, idle_pause=0.1, distributed=20, full_pause=0.001, operator_pause=0.1)
        async with running(settings, few):
            await eventually(lambda: proxy.open["BLMOVE"])
            for cdr in FANNED_OUT.elements():
                await world.redis.rpush(source, cdr)
            await eventually(lambda: proxy.lost[way, name] == times)
            wanted = FANNED_OUT + Counter({b"orphan": 4})
            await eventually(lambda: all(not wanted - one.bodies for one in receivers))
            await eventually(lambda: gone(world.redis, source, *orphaned, *waiting_keys(topology)))
    assert [one.bodies for one in receivers] == [wanted] * len(receivers)


def waiting_keys(topology: Topology) -> list[str]:
    keys = [*topology.lanes.values(), topology.short]
    return [key for one in keys for key in (*one.waiting, one.slot(1).processing)]


# --- an operator's command


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("way", ["reply", "command"])
async def test_a_replay_that_is_sent_again_is_delivered_once(
    way: Way, times: int, world: World, proxy: RedisProxy
) -> None:
    """Also where the CDR is delivered between the two: twins stay two, and none becomes three."""
    settings = settings_from(world.variables | {"CDR_REDIS_URL": proxy.url})
    letters = [letter_of(b"twin") for _ in range(2)]
    await world.redis.rpush(world.dead, *letters)
    link = Link(settings.sources[0], "command", QUICK)
    store = DeadStore(link, Topology(settings.sources[0]).short)
    async with running(settings, QUICK):
        proxy.loses = nth(way, "replay", times=times)
        replayed = [await store.replay(letter) async for letter in store.letters()]
        await eventually(lambda: world.receiver.bodies[b"twin"] >= 2)
        await eventually(lambda: gone(world.redis, *Topology(settings.sources[0]).short.waiting, world.dead))
    await link.aclose()
    assert replayed == [True, True]
    assert proxy.lost[way, "replay"] == times
    assert world.receiver.bodies == {b"twin": 2}


def letter_of(body: bytes) -> bytes:
    history = History(attempts=2, first_failed_at=1)
    return dead_letter(
        cdr=Cdr(body), endpoint="webhook", source="cdr", reason="rejected", status=400, answer=b"", history=history
    )


# --- looked for at once


@pytest.mark.parametrize("outcome", ["BLMOVE", "settle_and_claim claims"])
async def test_a_claim_whose_reply_is_lost_is_looked_for_at_once(outcome: str, world: World, proxy: RedisProxy) -> None:
    """Not only with the next sweep, which may be long away."""
    proxy.loses = nth("reply", outcome)
    seldom = {"CDR_SWEEP_INTERVAL": "3600", "CDR_REDIS_URL": proxy.url}
    async with running(settings_from(world.variables | seldom)):
        await eventually(lambda: proxy.seen["take"] and proxy.open["BLMOVE"])
        await world.redis.rpush(world.source, "a", "b", "b")
        await eventually(lambda: proxy.lost["reply", outcome])
        await eventually(lambda: world.receiver.bodies == {b"a": 1, b"b": 2})


async def test_an_ack_that_is_sent_again_leaves_a_twin_alone(world: World, proxy: RedisProxy) -> None:
    """It stays in processing for as long as it is being delivered itself."""
    proxy.loses = nth("reply", "settle_and_claim acks")
    first, second = asyncio.Event(), asyncio.Event()
    async with running(settings_from(world.variables | {"CDR_REDIS_URL": proxy.url})):
        for number, world.receiver.gate in enumerate((first, second), start=1):
            await world.redis.rpush(world.source, "twin")
            await eventually(partial(lambda all_of_them: world.receiver.at_the_gate == all_of_them, number))
        first.set()
        await eventually(lambda: proxy.seen["settle_and_claim again"])
        assert await world.redis.lrange(world.processing, 0, -1) == [b"twin"]
        second.set()
        await eventually(lambda: gone(world.redis, world.processing))
    assert world.receiver.bodies == {b"twin": 2}
