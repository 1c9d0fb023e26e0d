"""CDRs get into a processing list, or out of it, without its owner's knowledge; the sweep finds out."""

import asyncio
import time
from collections import Counter

import pytest
from redis.asyncio import Redis

from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis
from tests.support.harness import environment, eventually, gone, passed, running, settings_from
from tests.support.http_faults import NO_CONTENT, Behaviour, Connection, serve
from tests.support.proxy import RedisProxy
from tests.support.world import World

OFTEN = {"CDR_SWEEP_INTERVAL": "0.1"}
SWEEPS = 8
LEFT_OVER = 100_000
HOLD = 1


async def ghost(redis: EmbeddedRedis, source: str, processing: str) -> asyncio.StreamWriter:
    """Wait for a CDR as a client does that has vanished without a word: it never reads its reply."""
    _, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.write(f"CLIENT SETNAME {source}\r\nBLMOVE {source} {processing} LEFT RIGHT 0\r\n".encode())
    return writer


async def is_blocked(client: Redis, name: str) -> bool:
    clients = await client.client_list()
    return any(other["name"] == name and "b" in other["flags"] for other in clients)


async def test_what_a_ghost_claimed_is_delivered(world: World) -> None:
    """A vanished client is first in line, and Redis moves the CDR for it into a live forwarder's list."""
    vanished = await ghost(world.server, world.source, world.processing)
    await eventually(lambda: is_blocked(world.redis, world.source))
    forwarder = await world.start(OFTEN)
    await eventually(lambda: forwarder.events("slot.taken"))
    await world.redis.rpush(world.source, "haunted")
    await eventually(lambda: forwarder.events("sweep.recovered"))
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == {b"haunted": 1}
    vanished.close()


@pytest.mark.parametrize("end", ["head", "tail"])
async def test_what_a_hand_puts_into_processing_is_delivered(end: str, world: World) -> None:
    """Also a twin of what is being delivered, which is told from it by their number."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "a", "b")
    async with running(settings_from(world.variables | OFTEN)):
        await eventually(lambda: world.receiver.at_the_gate == 2)
        await (world.redis.lpush if end == "head" else world.redis.rpush)(world.processing, "a", "c")
        await eventually(lambda: world.receiver.at_the_gate == 4)
        world.receiver.gate.set()
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == {b"a": 2, b"b": 1, b"c": 1}


async def test_what_a_hand_takes_out_of_processing_is_an_event_and_no_error(world: World) -> None:
    """While it is being delivered; the others are acked as ever."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "a", "taken", "another", "b", "b")
    forwarder = await world.start()
    await eventually(lambda: world.receiver.at_the_gate == 5)
    for body in ("taken", "another", "b"):
        assert await world.redis.lrem(world.processing, 1, body)
    world.receiver.gate.set()
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    await eventually(lambda: sum(event["missing"] for event in forwarder.events("ack.found_nothing")) == 3)
    assert world.receiver.bodies == {b"a": 1, b"taken": 1, b"another": 1, b"b": 2}
    assert not await world.redis.exists(world.dead)
    assert [event for event in forwarder.events() if event["level"] == "error"] == []


async def test_a_sweep_leaves_alone_what_is_being_delivered(world: World, proxy: RedisProxy) -> None:
    """However long a delivery takes, and however often the list is looked at meanwhile."""
    pushed = Counter({b"twin": 5} | {f"cdr {number}".encode(): 1 for number in range(15)})
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, *pushed.elements())
    brief = Timings(claim_wait=0.05)  # a sweep judges when the waiting claim has ended
    async with running(settings_from(world.variables | OFTEN | {"CDR_REDIS_URL": proxy.url}), brief):
        await eventually(lambda: world.receiver.at_the_gate == pushed.total())
        enough = proxy.seen["page"] + 2 * SWEEPS
        await eventually(lambda: proxy.seen["page"] >= enough)
        assert world.receiver.at_the_gate == pushed.total()
        world.receiver.gate.set()
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == pushed


@pytest.mark.parametrize("outcome", ["settle_and_claim claims", "BLMOVE"])
async def test_a_sweep_does_not_start_what_a_claim_on_its_way_has_brought(
    outcome: str, world: World, proxy: RedisProxy
) -> None:
    """What was claimed is in processing before we know of it: a page that shows it is judged when we do."""
    proxy.hold(outcome)
    few = {"CDR_WEBHOOK_CONCURRENCY": "2", "CDR_REDIS_URL": proxy.url}
    pushed = Counter({b"twin": 3, b"a": 1, b"b": 1})
    async with running(settings_from(world.variables | OFTEN | few)):
        # given: a claim that Redis has carried out, and its answer on the way
        await eventually(lambda: proxy.seen["take"] and proxy.open["BLMOVE"])
        await world.redis.rpush(world.source, *(["first"] if outcome == "BLMOVE" else pushed.elements()))
        await eventually(lambda: proxy.held[outcome])
        # when: a sweep reads the list
        swept = proxy.seen["page"]
        await eventually(lambda: proxy.seen["page"] > swept)
        await passed(0.5)
        # then: it starts nothing of what it saw, and one that comes meanwhile waits for its own answer
        assert len(world.receiver.arrivals) == (0 if outcome == "BLMOVE" else 1)
        proxy.let_go(outcome)
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == ({b"first": 1} if outcome == "BLMOVE" else pushed)


async def test_an_ack_that_found_nothing_is_followed_by_a_sweep_at_once(world: World, proxy: RedisProxy) -> None:
    """A hand that took one CDR may have put another: the next sweep would come in an hour."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "taken", "kept")
    seldom = {"CDR_SWEEP_INTERVAL": "3600", "CDR_REDIS_URL": proxy.url}
    async with running(settings_from(world.variables | seldom)):
        await eventually(lambda: world.receiver.at_the_gate == 2 and proxy.seen["page"])
        # given: one that nobody claimed in the place of one that is being delivered
        await world.redis.lrem(world.processing, 1, "taken")
        await world.redis.rpush(world.processing, "stray")
        # when: the ack of the one that is gone finds nothing
        world.receiver.gate.set()
        # then: the other is found
        await eventually(lambda: world.receiver.bodies[b"stray"], deadline=5)
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == {b"taken": 1, b"kept": 1, b"stray": 1}


async def test_a_defer_that_found_nothing_is_followed_by_a_sweep_and_makes_no_copy(
    world: World, proxy: RedisProxy
) -> None:
    """It was taken out by somebody, so it is not ours to try again."""
    world.receiver.status = 503
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "taken")
    seldom = {"CDR_SWEEP_INTERVAL": "3600", "CDR_REDIS_URL": proxy.url}
    async with running(settings_from(world.variables | seldom)):
        await eventually(lambda: world.receiver.at_the_gate == 1 and proxy.seen["page"])
        await world.redis.lrem(world.processing, 1, "taken")
        await world.redis.rpush(world.processing, "stray")
        world.receiver.gate.set()
        await eventually(lambda: world.receiver.refusals[b"stray"], deadline=5)
        world.receiver.status = 204
        await eventually(lambda: gone(world.redis, world.source, world.processing, world.retry, world.retrying))
    assert (world.receiver.bodies, world.receiver.refusals[b"taken"]) == ({b"stray": 1}, 1)


async def test_strays_are_not_started_during_a_hold(world: World) -> None:
    """A receiver that asks for time gets it: also from what a sweep finds, and what waits in processing."""
    arrived_at: list[float] = []
    async with serve(holds_once(arrived_at)) as server:
        variables = environment(world.server.url, server.url, world.integrator, sweep_interval="0.1")
        async with running(settings_from(variables), Timings(claim_wait=0.05)):  # a sweep waits for its end
            await world.redis.rpush(world.source, "first")
            await eventually(lambda: arrived_at)
            await world.redis.rpush(world.processing, *(f"stray {number}" for number in range(20)))
            await eventually(lambda: gone(world.redis, world.source, world.processing, world.retry, world.retrying))
    assert len(arrived_at) == 22
    assert arrived_at[1] - arrived_at[0] >= HOLD


def holds_once(arrived_at: list[float]) -> Behaviour:
    """Answer the first request 429 with Retry-After, all later ones 204; note when each came."""

    async def behave(connection: Connection) -> None:
        while True:
            await connection.request()
            arrived_at.append(time.monotonic())
            busy = b"HTTP/1.1 429 Slow\r\nretry-after: %d\r\ncontent-length: 0\r\n\r\n" % HOLD
            await connection.send(NO_CONTENT if len(arrived_at) > 1 else busy)

    return behave


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_hundred_thousand_left_over_are_delivered_and_never_block_redis(own_world: World) -> None:
    """What a long outage of a predecessor may leave: read in pages, and no command takes 50 ms."""
    await own_world.redis.config_set("appendonly", "no")
    await own_world.redis.config_set("slowlog-log-slower-than", 50_000)
    for start in range(0, LEFT_OVER, 10_000):
        await own_world.redis.rpush(own_world.processing, *(f"cdr {number}" for number in range(start, start + 10_000)))
    assert await own_world.redis.llen(own_world.processing) == LEFT_OVER
    await own_world.redis.slowlog_reset()
    await own_world.with_variables(log_level="info", webhook_concurrency="64").start()
    await eventually(lambda: gone(own_world.redis, own_world.processing), deadline=300)
    assert own_world.receiver.bodies == {f"cdr {number}".encode(): 1 for number in range(LEFT_OVER)}
    assert await own_world.redis.slowlog_get() == []
