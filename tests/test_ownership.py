"""Which processing list is ours, and what happens when the lease on it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.config.settings import Settings
from app.demo.embedded import EmbeddedRedis
from app.errors import ConfigurationError, FencedError
from app.store.client import Link
from app.store.keys import MOST_SLOTS, Slot, all_slots
from app.store.lease import Ownership, new_process_id, parsed, runs_here
from tests.conftest import StartChild
from tests.harness import environment, eventually, gone, running, settings_from
from tests.proxy import RedisProxy
from tests.receiver import Receiver

LEASE_MS = 2000


@pytest.fixture
def settings(variables: dict[str, str]) -> Settings:
    return settings_from(variables)


@pytest.fixture
def slots(integrator: str) -> list[Slot]:
    return all_slots(integrator)


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


@asynccontextmanager
async def a_process(settings: Settings, name: str = "a") -> AsyncIterator[Ownership]:
    """What a process knows of its ownership, with a link of its own."""
    link = Link(settings, name)
    try:
        yield Ownership(link, name, settings)
    finally:
        await link.aclose()


@pytest.fixture
async def ours(settings: Settings) -> AsyncIterator[Ownership]:
    async with a_process(settings, "ours") as ownership:
        yield ownership


@pytest.fixture
async def theirs(settings: Settings) -> AsyncIterator[Ownership]:
    async with a_process(settings, "theirs") as ownership:
        yield ownership


@asynccontextmanager
async def kept(ownership: Ownership) -> AsyncIterator[asyncio.Task[None]]:
    keeping = asyncio.create_task(ownership.keep())
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
    return parsed(value)


async def id_of_owner(client: Redis, slot: Slot) -> str:
    return str((await owner_of(client, slot)).get("id", ""))


# --- taking


async def test_a_process_alone_takes_the_documented_list(ours: Ownership, client: Redis, integrator: str) -> None:
    """The first slot; the owner's value says who, from which source and to which endpoints, and ends with the lease."""
    slot = await ours.take()
    assert slot.processing == f"{integrator}:processing:cdr"
    assert await owner_of(client, slot) == {"id": "ours", "source": f"{integrator}-source", "endpoints": ["webhook"]}
    assert 0 < await client.pttl(slot.owner) <= LEASE_MS
    assert ours.holds()


async def test_the_second_process_takes_the_second_slot(ours: Ownership, theirs: Ownership) -> None:
    """Each has a list of its own."""
    assert [(await one.take()).number for one in (ours, theirs)] == [1, 2]


async def test_the_lowest_free_slot_is_taken(ours: Ownership, client: Redis, slots: list[Slot]) -> None:
    """Gaps that others have left are filled."""
    for slot in (*slots[:4], *slots[5:9]):
        await set_owner(client, slot, id="somebody")
    assert (await ours.take()).number == 5


async def test_processes_that_start_together_take_different_slots(settings: Settings, client: Redis) -> None:
    """However they race."""
    links = [Link(settings, f"{number}") for number in range(8)]
    racing = [Ownership(link, f"{number}", settings) for number, link in enumerate(links)]
    taken = await asyncio.gather(*(ownership.take() for ownership in racing))
    assert sorted(slot.number for slot in taken) == list(range(1, 9))
    for link in links:
        await link.aclose()


async def test_whoever_takes_a_slot_forgets_the_operations_of_the_one_before(
    ours: Ownership, client: Redis, slots: list[Slot]
) -> None:
    """Else its first operations would look like repetitions, and not be applied."""
    await client.hset(slots[0].ops, mapping={"owner": "the one before", "0": "999"})
    await ours.take()
    assert await client.hgetall(slots[0].ops) == {b"owner": ours.value}


async def test_a_65th_process_waits_and_says_so(
    ours: Ownership, client: Redis, slots: list[Slot], said: list[EventDict]
) -> None:
    """It owns nothing and does nothing until one of the others ends."""
    for slot in slots:
        await set_owner(client, slot, id="somebody")
    taking = asyncio.create_task(ours.take())
    await eventually(lambda: names(said).count("slot.awaited") >= 2)
    assert {event["log_level"] for event in said} == {"error"}
    assert not ours.holds()
    await client.delete(slots[39].owner)
    assert (await taking).number == 40
    assert len(slots) == MOST_SLOTS == 64


async def test_a_65th_process_forwards_when_one_ends(
    settings: Settings, client: Redis, slots: list[Slot], source: str, receiver: Receiver, said: list[EventDict]
) -> None:
    """The whole service: nothing is claimed before."""
    for slot in slots:
        await set_owner(client, slot, id="somebody")
    await client.rpush(source, "cdr")
    async with running(settings):
        await eventually(lambda: "slot.awaited" in names(said))
        assert await client.lrange(source, 0, -1) == [b"cdr"]
        await client.delete(slots[63].owner)
        await eventually(lambda: gone(client, source, slots[63].processing))
    assert receiver.bodies == {b"cdr": 1}


# --- two installations by mistake


async def test_another_source_under_the_same_name_is_refused(
    settings: Settings, client: Redis, slots: list[Slot]
) -> None:
    """The message names both sources and says what to do; the command line makes it exit status 2."""
    await set_owner(client, slots[2], id="somebody", source="elsewhere", endpoints=["webhook"])
    async with a_process(settings) as ownership:
        with pytest.raises(ConfigurationError, match=f"elsewhere.*{settings.source_key}.*name of its own"):
            await ownership.take()
    assert not await client.exists(slots[0].owner)


async def test_a_process_that_meets_another_source_exits_with_2(
    variables: dict[str, str], client: Redis, slots: list[Slot], start_child: StartChild
) -> None:
    """One line, no traceback."""
    await set_owner(client, slots[0], id="somebody", source="elsewhere", endpoints=["webhook"])
    child = await start_child(variables, "run")
    assert await child.ended() == 2
    [line] = [line for line in child.log.read_text().splitlines() if not line.startswith("{")]
    assert line.startswith("CDR_INTEGRATOR: ")


async def test_other_endpoints_are_told_and_do_not_stop_us(
    ours: Ownership, client: Redis, slots: list[Slot], integrator: str, said: list[EventDict]
) -> None:
    """A rolling change of configuration looks like this."""
    await set_owner(client, slots[0], id="somebody", source=f"{integrator}-source", endpoints=["billing", "crm"])
    assert (await ours.take()).number == 2
    [differs] = [event for event in said if event["event"] == "installation.differs"]
    assert (differs["log_level"], differs["endpoints"], differs["theirs"]) == ("error", ["webhook"], ["billing", "crm"])


@pytest.mark.parametrize("owner", [b"", b"not JSON", b"\xff", b"[]", b'"text"', b"7", b"{}"])
async def test_an_owner_that_is_not_one_of_us_is_left_alone(
    ours: Ownership, client: Redis, slots: list[Slot], owner: bytes
) -> None:
    """Whatever is written there, the slot is somebody's."""
    await client.set(slots[0].owner, owner)
    assert (await ours.take()).number == 2


# --- keeping


async def test_the_lease_is_renewed(ours: Ownership, client: Redis) -> None:
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
    async with a_process(settings) as ownership:
        slot = await ownership.take()
        await own_client.config_set("maxmemory", "1")
        async with kept(ownership):
            await own_client.pexpire(slot.owner, LEASE_MS // 2)
            await eventually(lambda: remains(own_client, slot, LEASE_MS // 2 + 1))


async def test_a_slot_is_taken_in_a_full_redis(
    own_redis: EmbeddedRedis, own_client: Redis, receiver: Receiver, integrator: str
) -> None:
    """A forwarder that starts is what can empty it."""
    await own_client.config_set("maxmemory", "1")
    settings = settings_from(environment(own_redis.url, receiver.url, integrator))
    async with a_process(settings) as ownership:
        assert (await ownership.take()).number == 1


async def test_a_lease_that_ended_unnoticed_is_taken_again(
    ours: Ownership, client: Redis, said: list[EventDict]
) -> None:
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
    ours: Ownership, theirs: Ownership, client: Redis, said: list[EventDict]
) -> None:
    """FENCED: what that list holds is theirs to deliver."""
    slot = await ours.take()
    await client.delete(slot.owner)
    await theirs.take()
    with pytest.raises(FencedError):
        await ours.keep()
    assert not ours.holds()
    assert "slot.lost" in names(said)


async def test_a_slot_that_another_has_had_meanwhile_is_given_up(
    ours: Ownership, theirs: Ownership, client: Redis
) -> None:
    """It is free again, but what we know of its list is no longer true."""
    slot = await ours.take()
    await client.delete(slot.owner)
    await theirs.take()
    await theirs.release()
    with pytest.raises(FencedError):
        await ours.keep()


async def test_a_doubted_lease_is_renewed_at_once(
    settings: Settings, client: Redis, variables: dict[str, str], said: list[EventDict]
) -> None:
    """An operation that was FENCED does not wait for the next renewal, here two minutes away."""
    link = Link(settings, "ours")
    ownership = Ownership(link, "ours", settings_from(variables | {"CDR_LEASE": "600"}))
    slot = await ownership.take()
    async with kept(ownership):
        await eventually(lambda: remains(client, slot, 1))
        await client.delete(slot.owner)
        link.lease_doubted.set()
        await eventually(lambda: "lease.expired" in names(said))
    await link.aclose()


async def test_a_lease_is_given_back(ours: Ownership, theirs: Ownership) -> None:
    """So that another takes it at once, and not when it ends."""
    first = await ours.take()
    await ours.release()
    assert await theirs.take() == first
    assert not ours.holds()


async def test_only_our_own_lease_is_given_back(ours: Ownership, theirs: Ownership, client: Redis) -> None:
    """It may have become another's without our knowledge."""
    slot = await ours.take()
    await client.delete(slot.owner)
    await theirs.take()
    await ours.release()
    assert await id_of_owner(client, slot) == "theirs"


def test_a_process_is_recognised_by_its_host() -> None:
    """A healthcheck in the same container asks for a process of this host."""
    assert runs_here(json.dumps({"id": new_process_id()}).encode())
    assert not runs_here(json.dumps({"id": "elsewhere:1:abc"}).encode())
    assert not runs_here(None)


# --- the whole service


async def test_deliveries_go_on_when_a_lease_has_ended_unnoticed(
    settings: Settings,
    client: Redis,
    slots: list[Slot],
    source: str,
    receiver: Receiver,
    said: list[EventDict],
) -> None:
    """What is in flight is acked by its own 2xx, and nothing is sent twice."""
    receiver.gate.clear()
    await client.rpush(source, "a", "twin", "twin")
    async with running(settings):
        await eventually(lambda: receiver.at_the_gate == 3)
        await client.delete(slots[0].owner)
        await eventually(lambda: "lease.expired" in names(said))
        receiver.gate.set()
        await client.rpush(source, "b")
        await eventually(lambda: gone(client, source, slots[0].processing))
    assert receiver.bodies == {b"a": 1, b"twin": 2, b"b": 1}


async def test_a_process_that_lost_its_slot_goes_on_with_another(
    settings: Settings,
    theirs: Ownership,
    client: Redis,
    slots: list[Slot],
    source: str,
    receiver: Receiver,
    said: list[EventDict],
) -> None:
    """It forgets what the lost list holds; that is delivered when its new owner ends, here by adoption."""
    # given: a process with a delivery in flight
    receiver.gate.clear()
    await client.rpush(source, "held")
    async with running(settings):
        await eventually(lambda: receiver.at_the_gate == 1)
        # when: another has its slot
        await client.set(slots[0].owner, theirs.value, px=LEASE_MS)
        await client.hset(slots[0].ops, mapping={"owner": theirs.value})
        await eventually(lambda: names(said).count("slot.taken") == 2)
        # then: it takes the next, and all is delivered in the end
        receiver.gate.set()
        await client.rpush(source, "new")
        await eventually(lambda: gone(client, source, slots[0].processing, slots[1].processing))
        assert await id_of_owner(client, slots[1]) != ""
    assert [event["slot"] for event in said if event["event"] == "slot.taken"] == [1, 2]
    assert receiver.bodies[b"new"] == 1
    assert receiver.bodies[b"held"] >= 1


async def test_a_stop_gives_the_lease_back(settings: Settings, client: Redis, slots: list[Slot]) -> None:
    """The next process takes the documented list at once."""
    async with running(settings):
        await eventually(lambda: client.exists(slots[0].owner))
    assert not await client.exists(slots[0].owner)


async def test_nothing_is_claimed_with_a_lease_that_may_have_ended(
    variables: dict[str, str],
    redis_server: EmbeddedRedis,
    client: Redis,
    slots: list[Slot],
    source: str,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without an answer to a renewal for 0.7 of it: the rest is for what is on the wire."""
    monkeypatch.setattr("app.store.queue.WAIT", 0.05)
    async with (
        RedisProxy(redis_server) as proxy,
        running(settings_from(variables | {"CDR_REDIS_URL": proxy.url})) as service,
    ):
        # given: renewals without an answer, and no claim on the wire any more
        await eventually(lambda: proxy.seen["renew"])
        proxy.hold("renew")
        await eventually(lambda: proxy.held["renew"] and not service._ownership.holds())
        await eventually(lambda: proxy.open["BLMOVE"] == 0)
        # when: a CDR comes, and the lease ends
        await client.rpush(source, "cdr")
        await eventually(lambda: gone(client, slots[0].owner))
        # then: it was not claimed; it is when a renewal is answered
        assert await client.lrange(source, 0, -1) == [b"cdr"]
        proxy.let_go("renew")
        await eventually(lambda: gone(client, source, slots[0].processing))
    assert receiver.bodies == {b"cdr": 1}
