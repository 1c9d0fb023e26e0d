"""Which processing list is ours, and what happens when the lease on it ends."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.config.settings import Settings
from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis
from app.errors import ConfigurationError, FencedError
from app.store.client import Link
from app.store.keys import MOST_SLOTS, Slot, Topology
from app.store.lease import Lease
from app.store.owner import Owner, fingerprint, new_process_id
from tests.support.harness import environment, eventually, gone, running, settings_from
from tests.support.proxy import RedisProxy
from tests.support.receiver import Receiver
from tests.support.world import World

LEASE_MS = 2000


@pytest.fixture
def settings(variables: dict[str, str]) -> Settings:
    return settings_from(variables)


@pytest.fixture
def slots(settings: Settings) -> list[Slot]:
    return Topology(settings.sources[0]).short.slots()


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


@asynccontextmanager
async def a_process(settings: Settings, name: str = "a") -> AsyncIterator[Lease]:
    """What a process knows of its lease, with a link of its own."""
    link = Link(settings.sources[0], name)
    try:
        yield Lease(link, name, settings.sources[0], settings.lease)
    finally:
        await link.aclose()


@pytest.fixture
async def ours(settings: Settings) -> AsyncIterator[Lease]:
    async with a_process(settings, "ours") as lease:
        yield lease


@pytest.fixture
async def theirs(settings: Settings) -> AsyncIterator[Lease]:
    async with a_process(settings, "theirs") as lease:
        yield lease


@asynccontextmanager
async def kept(lease: Lease) -> AsyncIterator[asyncio.Task[None]]:
    keeping = asyncio.create_task(lease.keep())
    try:
        yield keeping
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


def names(said: list[EventDict]) -> list[str]:
    return [event["event"] for event in said]


async def set_owner(client: Redis, slot: Slot, **owner: Any) -> None:
    await client.set(slot.owner, json.dumps(owner))


async def owner_of(client: Redis, slot: Slot) -> dict[str, Any]:
    value: Any = await client.get(slot.owner)
    stored: dict[str, Any] = json.loads(value or b"{}")
    return stored


async def id_of_owner(client: Redis, slot: Slot) -> str:
    return str((await owner_of(client, slot)).get("id", ""))


# --- taking


async def test_a_process_alone_takes_the_documented_list(ours: Lease, world: World) -> None:
    """The first slot; the owner's value says who, from which source and to which endpoints, and ends with the lease."""
    slot = await ours.take()
    assert slot.processing == world.processing
    owner = await owner_of(world.redis, slot)
    assert (owner["id"], owner["source"], owner["fans_out"]) == ("ours", world.source, False)
    assert owner["endpoints"] == {"webhook": fingerprint(world.settings.endpoints[0].url.get_secret_value())}
    assert world.settings.endpoints[0].url.get_secret_value() not in json.dumps(owner)
    assert 0 < await world.redis.pttl(slot.owner) <= LEASE_MS
    assert ours.holds()


async def test_the_second_process_takes_the_second_slot(ours: Lease, theirs: Lease) -> None:
    """Each has a list of its own."""
    assert [(await one.take()).number for one in (ours, theirs)] == [1, 2]


async def test_the_lowest_free_slot_is_taken(ours: Lease, client: Redis, slots: list[Slot]) -> None:
    """Gaps that others have left are filled."""
    for slot in (*slots[:4], *slots[5:9]):
        await set_owner(client, slot, id="somebody")
    assert (await ours.take()).number == 5


async def test_processes_that_start_together_take_different_slots(settings: Settings, client: Redis) -> None:
    """However they race."""
    links = [Link(settings.sources[0], f"{number}") for number in range(8)]
    racing = [Lease(link, f"{number}", settings.sources[0], settings.lease) for number, link in enumerate(links)]
    taken = await asyncio.gather(*(lease.take() for lease in racing))
    assert sorted(slot.number for slot in taken) == list(range(1, 9))
    for link in links:
        await link.aclose()


async def test_whoever_takes_a_slot_forgets_the_operations_of_the_one_before(
    ours: Lease, client: Redis, slots: list[Slot]
) -> None:
    """Else its first operations would look like repetitions, and not be applied."""
    await client.hset(slots[0].ops, mapping={"owner": "the one before", "0": "999"})
    await ours.take()
    assert await client.hgetall(slots[0].ops) == {b"owner": ours.value}


async def test_a_65th_process_waits_and_says_so(
    ours: Lease, client: Redis, slots: list[Slot], said: list[EventDict]
) -> None:
    """It owns nothing and does nothing until one of the others ends."""
    for slot in slots:
        await set_owner(client, slot, id="somebody")
    taking = asyncio.create_task(ours.take())
    await eventually(lambda: names(said).count("slot.awaited") >= 1)
    assert {event["log_level"] for event in said} == {"error"}
    assert not ours.holds()
    await client.delete(slots[39].owner)
    assert (await taking).number == 40
    assert len(slots) == MOST_SLOTS == 64


async def test_a_65th_process_forwards_when_one_ends(world: World, said: list[EventDict]) -> None:
    """The whole service: nothing is claimed before."""
    for slot in world.slots:
        await set_owner(world.redis, slot, id="somebody")
    await world.redis.rpush(world.source, "cdr")
    async with running(world.settings):
        await eventually(lambda: "slot.awaited" in names(said))
        assert await world.redis.lrange(world.source, 0, -1) == [b"cdr"]
        await world.redis.delete(world.slots[63].owner)
        await eventually(lambda: gone(world.redis, world.source, world.slots[63].processing))
    assert world.receiver.bodies == {b"cdr": 1}


# --- two installations by mistake


async def test_another_source_under_the_same_name_is_refused(world: World) -> None:
    """The message names both sources and says what to do; the command line makes it exit status 2."""
    await set_owner(world.redis, world.slots[2], id="somebody", source="elsewhere", endpoints={"webhook": ""})
    async with a_process(world.settings) as lease:
        with pytest.raises(ConfigurationError, match=f"elsewhere.*{world.settings.source_key}.*name of its own"):
            await lease.take()
    assert not await world.redis.exists(world.slots[0].owner)


async def test_a_process_that_meets_another_source_exits_with_2(world: World) -> None:
    """One event that says why, no traceback."""
    await set_owner(world.redis, world.slots[0], id="somebody", source="elsewhere", endpoints={"webhook": ""})
    child = await world.start()
    assert await child.ended() == 2
    [refused] = child.events("configuration.refused")
    assert refused["level"] == "error"
    assert refused["problem"].startswith("CDR_INTEGRATOR: ")
    assert "Traceback" not in child.log.read_text()


async def test_other_endpoints_do_not_keep_a_process_from_a_slot(ours: Lease, world: World) -> None:
    """A rolling change of configuration looks like this; `Neighbours` tells of it."""
    theirs = {"billing": "", "crm": ""}
    await set_owner(world.redis, world.slots[0], id="somebody", source=world.source, endpoints=theirs, fans_out=True)
    assert (await ours.take()).number == 2


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        ({"endpoints": {"billing": "", "crm": ""}, "fans_out": True}, "billing, crm"),
        ({"endpoints": {"webhook": "another"}}, "URL for webhook"),
    ],
)
async def test_another_configuration_is_told_each_minute_and_does_not_stop_us(
    theirs: dict[str, Any], told: str, world: World, said: list[EventDict]
) -> None:
    """Other endpoints, or other URLs: an error event, again and again while it lasts, and CDRs are delivered."""
    await set_owner(world.redis, world.slots[6], id="somebody", host="elsewhere", source=world.source, **theirs)
    async with running(world.settings, Timings(look=0.05)):
        await eventually(lambda: names(said).count("installation.differs") >= 3)
        await world.redis.rpush(world.source, "cdr")
        await eventually(lambda: world.receiver.bodies[b"cdr"])
    differs = next(event for event in said if event["event"] == "installation.differs")
    assert (differs["log_level"], differs["slot"], differs["host"]) == ("error", 7, "elsewhere")
    assert told in differs["differences"]


@pytest.mark.parametrize(
    "owner", [b"not JSON", b"\xff", b"[]", b'"text"', b"7", b"{}", b'{"id": "x", "endpoints": 5}', b"[" * 100_000]
)
async def test_an_owner_that_is_not_one_of_us_is_left_alone(
    ours: Lease, client: Redis, slots: list[Slot], owner: bytes
) -> None:
    """Whatever is written there, the slot is somebody's until its time is over."""
    await client.set(slots[0].owner, owner, px=60_000)
    assert (await ours.take()).number == 2


# --- keeping


async def test_the_lease_is_renewed(ours: Lease, client: Redis) -> None:
    """Several times within its length."""
    slot = await ours.take()
    async with kept(ours):
        for _ in range(2):
            await client.pexpire(slot.owner, LEASE_MS // 2)
            await eventually(lambda: remains(client, slot, LEASE_MS // 2 + 1))
    assert ours.holds()


async def remains(client: Redis, slot: Slot, milliseconds: int) -> bool:
    return bool(await client.pttl(slot.owner) >= milliseconds)


async def test_the_lease_is_renewed_in_a_full_redis(
    own_redis: EmbeddedRedis, own_client: Redis, receiver: Receiver, integrator: str
) -> None:
    """SET is refused there; a process that cannot renew would look dead to all others."""
    settings = settings_from(environment(own_redis.url, receiver.url, integrator))
    async with a_process(settings) as lease:
        slot = await lease.take()
        await own_client.config_set("maxmemory", "1")
        async with kept(lease):
            await own_client.pexpire(slot.owner, LEASE_MS // 2)
            await eventually(lambda: remains(own_client, slot, LEASE_MS // 2 + 1))


async def test_a_slot_is_taken_in_a_full_redis(
    own_redis: EmbeddedRedis, own_client: Redis, receiver: Receiver, integrator: str
) -> None:
    """A forwarder that starts is what can empty it."""
    await own_client.config_set("maxmemory", "1")
    settings = settings_from(environment(own_redis.url, receiver.url, integrator))
    async with a_process(settings) as lease:
        assert (await lease.take()).number == 1


async def test_a_lease_that_ended_unnoticed_is_taken_again(ours: Lease, client: Redis, said: list[EventDict]) -> None:
    """Nobody else had it: the operations that are known as applied stay known."""
    slot = await ours.take()
    await client.hset(slot.ops, mapping={"0": "7"})
    async with kept(ours):
        await client.delete(slot.owner)
        await eventually(lambda: "lease.expired" in names(said))
        await eventually(ours.holds)
    assert await id_of_owner(client, slot) == "ours"
    assert await client.hget(slot.ops, "0") == b"7"


async def test_a_slot_that_another_has_taken_is_given_up(
    ours: Lease, theirs: Lease, client: Redis, said: list[EventDict]
) -> None:
    """FENCED: what that list holds is theirs to deliver."""
    slot = await ours.take()
    await client.delete(slot.owner)
    await theirs.take()
    with pytest.raises(FencedError):
        await ours.keep()
    assert not ours.holds()
    assert "slot.lost" in names(said)


async def test_a_slot_that_another_has_had_meanwhile_is_given_up(ours: Lease, theirs: Lease, client: Redis) -> None:
    """It is free again, but what we know of its list is no longer true."""
    slot = await ours.take()
    await client.delete(slot.owner)
    await theirs.take()
    await theirs.release()
    with pytest.raises(FencedError):
        await ours.keep()


async def test_a_doubted_lease_is_renewed_at_once(world: World, said: list[EventDict]) -> None:
    """An operation that was FENCED does not wait for the next renewal, here two minutes away."""
    link = Link(world.settings.sources[0], "ours")
    lease = Lease(link, "ours", world.settings.sources[0], 600)
    slot = await lease.take()
    async with kept(lease):
        await eventually(lambda: remains(world.redis, slot, 1))
        await world.redis.delete(slot.owner)
        link.lease_doubted.set()
        await eventually(lambda: "lease.expired" in names(said))
    await link.aclose()


async def test_a_lease_is_given_back(ours: Lease, theirs: Lease) -> None:
    """So that another takes it at once, and not when it ends."""
    first = await ours.take()
    await ours.release()
    assert await theirs.take() == first
    assert not ours.holds()


async def test_only_our_own_lease_is_given_back(ours: Lease, theirs: Lease, client: Redis) -> None:
    """It may have become another's without our knowledge."""
    slot = await ours.take()
    await client.delete(slot.owner)
    await theirs.take()
    await ours.release()
    assert await id_of_owner(client, slot) == "theirs"


def test_a_process_is_recognised_by_its_host() -> None:
    """A healthcheck in the same container asks for a process of this host."""
    assert Owner.read(json.dumps({"id": new_process_id(), "host": socket.gethostname()}).encode()).runs_here
    assert not Owner.read(json.dumps({"id": new_process_id(), "host": "elsewhere"}).encode()).runs_here
    assert not Owner.read(None).runs_here


# --- the whole service


async def test_deliveries_go_on_when_a_lease_has_ended_unnoticed(world: World, said: list[EventDict]) -> None:
    """What is in flight is acked by its own 2xx, and nothing is sent twice."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "a", "twin", "twin")
    async with running(world.settings):
        await eventually(lambda: world.receiver.at_the_gate == 3)
        await world.redis.delete(world.slots[0].owner)
        await eventually(lambda: "lease.expired" in names(said))
        world.receiver.gate.set()
        await world.redis.rpush(world.source, "b")
        await eventually(lambda: gone(world.redis, world.source, world.slots[0].processing))
    assert world.receiver.bodies == {b"a": 1, b"twin": 2, b"b": 1}


async def test_a_process_that_lost_its_slot_goes_on_with_another(
    world: World, theirs: Lease, said: list[EventDict]
) -> None:
    """It forgets what the lost list holds; that is delivered when its new owner ends, here by adoption."""
    # given: a process with a delivery in flight
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "held")
    async with running(world.settings):
        await eventually(lambda: world.receiver.at_the_gate == 1)
        # when: another has its slot
        await world.redis.set(world.slots[0].owner, theirs.value, px=LEASE_MS)
        await world.redis.hset(world.slots[0].ops, mapping={"owner": theirs.value})
        await eventually(lambda: names(said).count("slot.taken") == 2)
        # then: it takes the next, and all is delivered in the end
        world.receiver.gate.set()
        await world.redis.rpush(world.source, "new")
        await eventually(lambda: gone(world.redis, world.source, world.slots[0].processing, world.slots[1].processing))
        assert await id_of_owner(world.redis, world.slots[1]) != ""
    assert [event["slot"] for event in said if event["event"] == "slot.taken"] == [1, 2]
    assert world.receiver.bodies[b"new"] == 1
    assert world.receiver.bodies[b"held"] >= 1


async def test_a_stop_gives_the_lease_back(world: World) -> None:
    """The next process takes the documented list at once."""
    async with running(world.settings):
        await eventually(lambda: world.redis.exists(world.slots[0].owner))
    assert not await world.redis.exists(world.slots[0].owner)


LATE = 1.2
"""Seconds, of a lease of 2, that the answer to a renewal is late."""


async def test_a_lease_is_trusted_from_when_its_renewal_was_sent(world: World) -> None:
    """Redis counts from before the answer: one that comes late leaves less of the lease."""
    async with (
        RedisProxy(world.server) as proxy,
        a_process(settings_from(world.variables | {"CDR_REDIS_URL": proxy.url})) as ours,
    ):
        await ours.take()
        proxy.hold("renew")
        async with kept(ours):
            await eventually(lambda: proxy.held["renew"])
            sent = time.monotonic()
            await eventually(lambda: time.monotonic() - sent >= LATE)
            assert ours.holds()
            # when: it is answered, 0.2 s before 0.7 of the lease are over; the next renewal is 0.4 s away
            proxy.let_go("renew")
            # then: the lease is no longer trusted in between
            await eventually(lambda: not ours.holds())


async def test_nothing_is_claimed_or_posted_with_a_lease_that_may_have_ended(world: World) -> None:
    """Without an answer to a renewal for 0.7 of it: the rest is for what is on the wire."""
    world.receiver.gate.clear()
    one_at_a_time = world.variables | {"CDR_WEBHOOK_CONCURRENCY": "1"}
    await world.redis.rpush(world.source, "first", "second", "third", "fourth", "fifth", "sixth")
    async with (
        RedisProxy(world.server) as proxy,
        running(settings_from(one_at_a_time | {"CDR_REDIS_URL": proxy.url}), Timings(claim_wait=0.05)) as service,
    ):
        # given: a CDR on the wire and one in the inbox, renewals without an answer, and no claim on its way any more
        await eventually(lambda: world.receiver.at_the_gate and len(service.parts.lanes[0].lane.inbox))
        await eventually(lambda: proxy.seen["renew"])
        proxy.hold("renew")
        for outcome in ("settle_and_claim acks", "settle_and_claim claims"):
            proxy.hold(outcome)
        await eventually(lambda: proxy.held["renew"] and not service.parts.sources[0].lease.holds())
        await eventually(lambda: proxy.open["BLMOVE"] == 0)
        pending = await world.redis.lrange(world.source, 0, -1)
        # when: the one on the wire is answered, and the lease ends
        world.receiver.gate.set()
        await eventually(lambda: gone(world.redis, world.slots[0].owner))
        # then: no other was posted or claimed; they are when a renewal is answered
        assert world.receiver.bodies == {b"first": 1}
        assert await world.redis.lrange(world.source, 0, -1) == pending != []
        for outcome in ("settle_and_claim acks", "settle_and_claim claims", "renew"):
            proxy.let_go(outcome)
        await eventually(lambda: gone(world.redis, world.source, world.slots[0].processing))
    assert world.receiver.bodies.total() == 6
