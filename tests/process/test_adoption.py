"""CDRs of processes that are gone are delivered by those that are left; those of the living are let be."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.lane.adopter import Adopter
from app.lane.incoming import Incoming
from app.store.client import Link
from app.store.clock import RedisClock
from app.store.keys import Slot, Topology
from app.store.lease import Lease
from app.store.queue import Queue
from tests.support.harness import Child, eventually, gone, running, settings_from
from tests.support.proxy import RedisProxy, nth
from tests.support.world import World

LEASE = 0.6
PAGE = 256
OWNER = '{"id": "somebody"}'


@dataclass
class Neighbour:
    """A process that looks for lists without owner; slot 7 is the other's."""

    adopter: Adopter
    own: Slot
    other: Slot
    redis: Redis
    adopted: list[int]

    async def look(self) -> int:
        """Look once more, half a lease after the look before."""
        again = time.monotonic() + LEASE / 2
        found = await self.adopter.look()
        await eventually(lambda: time.monotonic() >= again)
        return found

    async def own_list(self) -> list[bytes]:
        elements: Any = await self.redis.lrange(self.own.processing, 0, -1)
        return list(elements)


@pytest.fixture
async def neighbour(variables: dict[str, str], client: Redis) -> AsyncIterator[Neighbour]:
    settings = settings_from(variables | {"CDR_LEASE": "600"})
    link, keys = Link(settings.sources[0], "neighbour"), Topology(settings.sources[0]).short
    lease = Lease(link, "neighbour", settings.sources[0], settings.lease)
    own = await lease.take()
    lease.seconds = LEASE
    queue = Queue(link=link, lease=lease, clock=RedisClock(), slot=own, keys=keys, oldest="head", horizon=600)
    adopted: list[int] = []
    adopter = Adopter(
        link=link,
        lease=lease,
        queue=queue,
        keys=keys,
        incoming=Incoming(),
        may_adopt=lambda: True,
        on_adopted=adopted.append,
        stopping=asyncio.Event(),
    )
    yield Neighbour(adopter, own, keys.slot(7), client, adopted)
    await link.aclose()


@pytest.fixture
def slots(variables: dict[str, str]) -> list[Slot]:
    return Topology(settings_from(variables).sources[0]).short.slots()


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


async def test_a_list_is_adopted_when_it_was_seen_twice_without_owner(neighbour: Neighbour) -> None:
    """Half a lease apart, and not before: its owner may be about to come back."""
    await neighbour.redis.rpush(neighbour.other.processing, "a", "b")
    first_look = time.monotonic()
    assert await neighbour.adopter.look() == 0
    assert await neighbour.adopter.look() == 0
    adopted = await eventually(neighbour.look)
    assert time.monotonic() - first_look >= LEASE / 2
    assert adopted == 2
    assert await neighbour.own_list() == [b"a", b"b"]


async def test_a_list_with_a_live_owner_is_never_adopted(neighbour: Neighbour) -> None:
    """However often it is looked at."""
    await neighbour.redis.rpush(neighbour.other.processing, "theirs")
    await neighbour.redis.set(neighbour.other.owner, OWNER, px=60_000)
    assert [await neighbour.look() for _ in range(4)] == [0, 0, 0, 0]
    assert await neighbour.redis.lrange(neighbour.other.processing, 0, -1) == [b"theirs"]


async def test_an_owner_that_comes_back_is_let_be(neighbour: Neighbour) -> None:
    """Between two looks: the count begins anew."""
    await neighbour.redis.rpush(neighbour.other.processing, "theirs")
    assert await neighbour.look() == 0
    await neighbour.redis.set(neighbour.other.owner, OWNER, px=60_000)
    assert await neighbour.look() == 0
    await neighbour.redis.delete(neighbour.other.owner)
    assert await neighbour.look() == 0
    assert await neighbour.redis.lrange(neighbour.other.processing, 0, -1) == [b"theirs"]


async def test_an_owner_between_two_distant_looks_is_noticed(neighbour: Neighbour) -> None:
    """Redis was away: the look before was more than a lease ago, and the list had an owner since then, perhaps."""
    await neighbour.redis.rpush(neighbour.other.processing, "theirs")
    assert await neighbour.look() == 0
    again = time.monotonic() + LEASE
    await eventually(lambda: time.monotonic() >= again)
    assert await neighbour.look() == 0
    assert await eventually(neighbour.look) == 1


async def test_a_long_list_is_adopted_page_by_page(neighbour: Neighbour, said: list[EventDict]) -> None:
    """One page after the other; an event for each, and the sweep is told."""
    await neighbour.redis.rpush(neighbour.other.processing, *range(2 * PAGE + 3))
    await eventually(neighbour.look)
    assert [await neighbour.adopter.look() for _ in range(2)] == [PAGE, 3]
    assert neighbour.adopted == [PAGE, PAGE, 3]
    assert await neighbour.own_list() == [str(number).encode() for number in range(2 * PAGE + 3)]
    adopted = [(event["from_slot"], event["adopted"]) for event in said if event["event"] == "cdrs.adopted"]
    assert adopted == [(7, PAGE), (7, PAGE), (7, 3)]


async def test_all_lists_without_owner_are_adopted(neighbour: Neighbour, slots: list[Slot]) -> None:
    """One after the other, up to the last slot."""
    for slot in (slots[1], slots[30], slots[63]):
        await neighbour.redis.rpush(slot.processing, slot.number)
    assert [await eventually(neighbour.look) for _ in range(3)] == [1, 1, 1]
    assert sorted(await neighbour.own_list()) == [b"2", b"31", b"64"]


async def test_ones_own_list_is_not_adopted(neighbour: Neighbour) -> None:
    """Even while one's own lease is gone: moving it to its own end would go on for ever."""
    await neighbour.redis.rpush(neighbour.own.processing, "a", "b")
    await neighbour.redis.delete(neighbour.own.owner)
    assert [await neighbour.look() for _ in range(3)] == [0, 0, 0]


async def test_what_was_adopted_unseen_is_delivered_at_once(world: World) -> None:
    """The reply to the adoption was lost: its CDRs do not wait for the next sweep, here ten minutes away."""
    await world.redis.rpush(world.slots[6].processing, "orphan")
    async with RedisProxy(world.server) as proxy:
        proxy.loses = nth("reply", "adopt")
        seldom = {"CDR_REDIS_URL": proxy.url, "CDR_SWEEP_INTERVAL": "600", "CDR_LEASE": "0.5"}
        async with running(settings_from(world.variables | seldom)):
            await eventually(lambda: proxy.lost["reply", "adopt"])
            await eventually(lambda: world.receiver.bodies[b"orphan"], deadline=5)


async def test_the_cdrs_of_a_killed_process_are_delivered_by_another(world: World, said: list[EventDict]) -> None:
    """SIGKILL with several pages of them in flight: none is lost."""
    # given: a process that holds them all, and another beside it
    pushed = Counter([f"cdr {number}".encode() for number in range(150)] + [b"twin"] * 10)
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, *pushed.elements())
    victim = await world.start({"CDR_WEBHOOK_CONCURRENCY": "200"})
    await eventually(lambda: world.receiver.at_the_gate == pushed.total())
    async with running(world.settings):
        await eventually(lambda: world.redis.exists(world.slots[1].owner))
        # when: it dies without a word
        await victim.kill()
        world.receiver.gate.set()
        # then: the other has them when the lease has ended
        await eventually(lambda: gone(world.redis, world.source, world.slots[0].processing, world.slots[1].processing))
    assert pushed - world.receiver.bodies == Counter()
    assert sum(event["adopted"] for event in said if event["event"] == "cdrs.adopted") == pushed.total()


async def test_a_process_that_starts_after_a_kill_takes_over_in_place(world: World) -> None:
    """Once the lease has ended it has the same slot, and its first sweep finds what is there."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "a", "twin", "twin")
    victim = await world.start()
    await eventually(lambda: world.receiver.at_the_gate == 3)
    await victim.kill()
    await eventually(lambda: gone(world.redis, world.slots[0].owner))
    world.receiver.gate.set()
    async with running(world.settings):
        await eventually(lambda: gone(world.redis, world.source, world.slots[0].processing))
    assert Counter({b"a": 1, b"twin": 2}) - world.receiver.bodies == Counter()


async def test_three_processes_share_the_work(world: World, said: list[EventDict]) -> None:
    """Side by side on one source; in calm nothing is delivered twice and nothing adopted."""
    pushed = Counter([f"cdr {number}".encode() for number in range(900)] + [b"twin"] * 100)
    settings = settings_from(world.variables | {"CDR_WEBHOOK_CONCURRENCY": "8"})
    async with AsyncExitStack() as processes:
        for _ in range(3):
            await processes.enter_async_context(running(settings))
        await eventually(lambda: have_owners(world.redis, world.slots[:3]))
        await world.redis.rpush(world.source, *pushed.elements())
        await eventually(lambda: gone(world.redis, world.source, *(slot.processing for slot in world.slots)))
    assert world.receiver.bodies == pushed
    assert not [event for event in said if event["event"] == "cdrs.adopted"]


async def have_owners(client: Redis, slots: list[Slot]) -> bool:
    return bool(await client.exists(*(slot.owner for slot in slots)) == len(slots))


async def test_each_of_three_processes_gets_some_of_the_work(world: World) -> None:
    """While one waits for the endpoint, the others claim."""
    world.receiver.delay = 0.02
    processes = [await world.start({"CDR_WEBHOOK_CONCURRENCY": "4"}) for _ in range(3)]
    await eventually(lambda: have_owners(world.redis, world.slots[:3]))
    await world.redis.rpush(world.source, *range(300))
    await eventually(lambda: gone(world.redis, world.source, *(slot.processing for slot in world.slots)))
    assert all(map(deliveries, processes))
    assert world.receiver.bodies == Counter(str(number).encode() for number in range(300))


def deliveries(process: Child) -> int:
    return len(process.events("cdr.delivered"))
