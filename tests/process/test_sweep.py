"""What nobody is delivering is found in our processing list, and in the retry set when it is due."""

import time
from collections import Counter

from redis.asyncio import Redis

from app.cdr import History
from app.config.timings import Timings
from app.store.retry_set import member_of
from tests.support.harness import eventually, gone, running, settings_from
from tests.support.proxy import RedisProxy
from tests.support.receiver import Receiver
from tests.support.world import World

BRIEF = Timings(claim_wait=0.05)
"""A sweep judges when the waiting claim has ended."""

EIGHT = {"CDR_WEBHOOK_CONCURRENCY": "8"}


def attempts(receiver: Receiver, body: bytes) -> list[int]:
    return [arrival.attempt for arrival in receiver.arrivals if arrival.body == body]


async def defer(client: Redis, key: str, body: bytes, wait: float) -> None:
    """Leave a CDR that has failed five times, and is due in `wait` seconds."""
    history = History(attempts=5, first_failed_at=1, last_failed_at=1, last_result="http_5xx")
    due_at = (await client.time())[0] * 1000 + int(wait * 1000)
    await client.zadd(key, {member_of(f"token-{body.hex()}", history, body): due_at})


async def test_lost_cdrs_are_found_over_several_pages(world: World) -> None:
    """More of them than there is room for, twins among them: each is delivered, and none twice."""
    lost = [f"cdr {number}".encode() for number in range(300)] + [b"twin"] * 50
    await world.redis.rpush(world.processing, *lost)
    async with running(settings_from(world.variables | EIGHT)):
        await eventually(lambda: gone(world.redis, world.processing))
    assert world.receiver.bodies == Counter(lost)


async def test_strays_come_before_what_is_pending(world: World) -> None:
    """They are the oldest: nothing new is claimed while our list holds more of them than were taken."""
    strays = [b"stray %d" % number for number in range(300)]
    pushed = [b"cdr %d" % number for number in range(50)]
    await world.redis.rpush(world.processing, *strays)
    await world.redis.rpush(world.source, *pushed)
    async with running(settings_from(world.variables | {"CDR_WEBHOOK_CONCURRENCY": "1"})):
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    in_order = [arrival.body for arrival in world.receiver.arrivals]
    assert Counter(in_order) == Counter(strays + pushed)
    assert len(set(in_order[:200]) - set(strays)) <= 4  # claimed before the first page was read


async def test_a_sweep_does_not_take_what_is_in_flight_for_lost(world: World, proxy: RedisProxy) -> None:
    """An endpoint that keeps us waiting for several sweeps gets each CDR once, and each twin once."""
    pushed = [b"a", b"b", b"twin", b"twin"]
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, *pushed)
    quick = {"CDR_REDIS_URL": proxy.url, "CDR_SWEEP_INTERVAL": "0.1"}
    async with running(settings_from(world.variables | quick), BRIEF):
        await eventually(lambda: world.receiver.at_the_gate == 4)
        pages = proxy.seen["page"]
        await eventually(lambda: proxy.seen["page"] >= pages + 6)
        assert world.receiver.at_the_gate == 4
        world.receiver.gate.set()
        await eventually(lambda: gone(world.redis, world.processing))
    assert world.receiver.bodies == Counter(pushed)


async def test_a_retried_twin_does_not_hide_a_stray(world: World, proxy: RedisProxy) -> None:
    """It is in another key: what stands in our list beside it is nobody's, and is delivered."""
    world.receiver.gate.clear()
    await defer(world.redis, world.retry, b"twin", wait=0)
    quick = {"CDR_REDIS_URL": proxy.url, "CDR_SWEEP_INTERVAL": "0.1"}
    async with running(settings_from(world.variables | quick), BRIEF):
        await eventually(lambda: world.receiver.at_the_gate == 1)
        await world.redis.rpush(world.processing, "twin")
        await eventually(lambda: world.receiver.at_the_gate == 2)
        pages = proxy.seen["page"]
        await eventually(lambda: proxy.seen["page"] >= pages + 4)
        assert world.receiver.at_the_gate == 2
        world.receiver.gate.set()
        await eventually(lambda: gone(world.redis, world.processing, world.retry, world.retrying))
    assert world.receiver.bodies == {b"twin": 2}


async def test_a_deferred_cdr_is_not_tried_before_its_time(world: World) -> None:
    """Its attempts go on being counted; one that is due much later stays where it is."""
    began = time.monotonic()
    for body, wait in ((b"due", -1), (b"later", 2), (b"much later", 600)):
        await defer(world.redis, world.retry, body, wait)
    async with running(world.settings):
        await eventually(lambda: world.receiver.bodies.total() == 2)
        await eventually(lambda: gone(world.redis, world.retrying))
        assert await world.redis.zcard(world.retry) == 1
    assert [(arrival.body, arrival.attempt) for arrival in world.receiver.arrivals] == [(b"due", 6), (b"later", 6)]
    assert world.receiver.arrivals[1].at - began >= 1  # due in 2 s from the beginning of a second of Redis' clock


async def test_deferred_cdrs_leave_room_for_new_ones(world: World) -> None:
    """While new ones wait, a quarter of the workers take them."""
    world.receiver.gate.clear()
    for number in range(20):
        await defer(world.redis, world.retry, b"deferred %d" % number, wait=-1)
    await world.redis.rpush(world.source, *(f"new {number}" for number in range(100)))
    async with running(settings_from(world.variables | EIGHT)):
        await eventually(lambda: world.receiver.at_the_gate == 8)
        world.receiver.gate.set()
        await eventually(lambda: gone(world.redis, world.source, world.processing, world.retry, world.retrying))
    first = [arrival.attempt for arrival in world.receiver.arrivals[:8]]
    assert Counter(first) == {6: 2, 1: 6}
    assert world.receiver.bodies.total() == 120


async def test_deferred_cdrs_may_take_every_worker_while_nothing_is_pending(world: World) -> None:
    """An endpoint that is back gets what waited for it at full speed."""
    world.receiver.gate.clear()
    for number in range(20):
        await defer(world.redis, world.retry, b"deferred %d" % number, wait=-1)
    async with running(settings_from(world.variables | EIGHT)):
        await eventually(lambda: world.receiver.at_the_gate == 8)
        world.receiver.gate.set()


async def test_a_twin_that_leaves_while_a_page_is_on_its_way_does_not_confuse_the_sweep(
    world: World, proxy: RedisProxy
) -> None:
    """The page still shows it: nothing in flight, or deferred, is delivered a second time."""
    world.receiver.judge = lambda _: 503 if len(world.receiver.arrivals) < 5 else 204
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "twin", "a", "b", "c", "twin")
    patient = {"CDR_REDIS_URL": proxy.url, "CDR_SWEEP_INTERVAL": "0.2", "CDR_WEBHOOK_BACKOFF": "0.3"}
    async with running(settings_from(world.variables | EIGHT | patient), BRIEF):
        # given: all in flight, and a page that shows them on its way to us
        await eventually(lambda: world.receiver.at_the_gate == 5)
        proxy.hold("page")
        await eventually(lambda: proxy.held["page"])
        # when: all fail and are deferred, and the page arrives
        world.receiver.gate.set()
        await eventually(lambda: gone(world.redis, world.processing))
        proxy.let_go("page")
        # then: each is tried again by its own, and no more
        await eventually(lambda: gone(world.redis, world.source, world.processing, world.retry, world.retrying))
    assert world.receiver.bodies == {b"twin": 2, b"a": 1, b"b": 1, b"c": 1}
    assert [attempts(world.receiver, body).count(1) for body in (b"twin", b"a", b"b", b"c")] == [2, 1, 1, 1]
