"""CDRs get into a processing list, or out of it, without its owner's knowledge; the sweep finds out."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis
from tests.conftest import StartChild
from tests.support.harness import environment, eventually, gone, passed, running, settings_from
from tests.support.http_faults import NO_CONTENT, Behaviour, Connection, serve
from tests.support.proxy import RedisProxy
from tests.support.receiver import Receiver

OFTEN = {"CDR_SWEEP_INTERVAL": "0.1"}
SWEEPS = 8
LEFT_OVER = 100_000
HOLD = 1


@pytest.fixture
async def proxy(redis_server: EmbeddedRedis) -> AsyncIterator[RedisProxy]:
    async with RedisProxy(redis_server) as proxy:
        yield proxy


async def ghost(redis: EmbeddedRedis, source: str, processing: str) -> asyncio.StreamWriter:
    """Wait for a CDR as a client does that has vanished without a word: it never reads its reply."""
    _, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.write(f"CLIENT SETNAME {source}\r\nBLMOVE {source} {processing} LEFT RIGHT 0\r\n".encode())
    return writer


async def is_blocked(client: Redis, name: str) -> bool:
    clients = await client.client_list()
    return any(other["name"] == name and "b" in other["flags"] for other in clients)


async def test_what_a_ghost_claimed_is_delivered(
    redis_server: EmbeddedRedis,
    client: Redis,
    receiver: Receiver,
    variables: dict[str, str],
    source: str,
    processing: str,
    start_child: StartChild,
) -> None:
    """A vanished client is first in line, and Redis moves the CDR for it into a live forwarder's list."""
    vanished = await ghost(redis_server, source, processing)
    await eventually(lambda: is_blocked(client, source))
    forwarder = await start_child(variables | OFTEN, "run")
    await eventually(lambda: forwarder.events("slot.taken"))
    await client.rpush(source, "haunted")
    await eventually(lambda: forwarder.events("sweep.recovered"))
    await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == {b"haunted": 1}
    vanished.close()


@pytest.mark.parametrize("end", ["head", "tail"])
async def test_what_a_hand_puts_into_processing_is_delivered(
    end: str, client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """Also a twin of what is being delivered, which is told from it by their number."""
    receiver.gate.clear()
    await client.rpush(source, "a", "b")
    async with running(settings_from(variables | OFTEN)):
        await eventually(lambda: receiver.at_the_gate == 2)
        await (client.lpush if end == "head" else client.rpush)(processing, "a", "c")
        await eventually(lambda: receiver.at_the_gate == 4)
        receiver.gate.set()
        await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == {b"a": 2, b"b": 1, b"c": 1}


async def test_what_a_hand_takes_out_of_processing_is_an_event_and_no_error(
    client: Redis,
    receiver: Receiver,
    variables: dict[str, str],
    source: str,
    processing: str,
    dead: str,
    start_child: StartChild,
) -> None:
    """While it is being delivered; the others are acked as ever."""
    receiver.gate.clear()
    await client.rpush(source, "a", "taken", "another", "b", "b")
    forwarder = await start_child(variables, "run")
    await eventually(lambda: receiver.at_the_gate == 5)
    for body in ("taken", "another", "b"):
        assert await client.lrem(processing, 1, body)
    receiver.gate.set()
    await eventually(lambda: gone(client, source, processing))
    await eventually(lambda: sum(event["missing"] for event in forwarder.events("ack.found_nothing")) == 3)
    assert receiver.bodies == {b"a": 1, b"taken": 1, b"another": 1, b"b": 2}
    assert not await client.exists(dead)
    assert [event for event in forwarder.events() if event["level"] == "error"] == []


async def test_a_sweep_leaves_alone_what_is_being_delivered(
    proxy: RedisProxy,
    client: Redis,
    receiver: Receiver,
    variables: dict[str, str],
    source: str,
    processing: str,
) -> None:
    """However long a delivery takes, and however often the list is looked at meanwhile."""
    pushed = Counter({b"twin": 5} | {f"cdr {number}".encode(): 1 for number in range(15)})
    receiver.gate.clear()
    await client.rpush(source, *pushed.elements())
    brief = Timings(claim_wait=0.05)  # a sweep judges when the waiting claim has ended
    async with running(settings_from(variables | OFTEN | {"CDR_REDIS_URL": proxy.url}), brief):
        await eventually(lambda: receiver.at_the_gate == pushed.total())
        enough = proxy.seen["page"] + 2 * SWEEPS
        await eventually(lambda: proxy.seen["page"] >= enough)
        assert receiver.at_the_gate == pushed.total()
        receiver.gate.set()
        await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == pushed


@pytest.mark.parametrize("outcome", ["settle_and_claim claims", "BLMOVE"])
async def test_a_sweep_does_not_start_what_a_claim_on_its_way_has_brought(
    outcome: str, proxy: RedisProxy, client: Redis, receiver: Receiver, variables: dict[str, str], processing: str
) -> None:
    """What was claimed is in processing before we know of it: a page that shows it is judged when we do."""
    source = variables["CDR_SOURCE_KEY"]
    proxy.hold(outcome)
    few = {"CDR_WEBHOOK_CONCURRENCY": "2", "CDR_REDIS_URL": proxy.url}
    pushed = Counter({b"twin": 3, b"a": 1, b"b": 1})
    async with running(settings_from(variables | OFTEN | few)):
        # given: a claim that Redis has carried out, and its answer on the way
        await eventually(lambda: proxy.seen["take"] and proxy.open["BLMOVE"])
        await client.rpush(source, *(["first"] if outcome == "BLMOVE" else pushed.elements()))
        await eventually(lambda: proxy.held[outcome])
        # when: a sweep reads the list
        swept = proxy.seen["page"]
        await eventually(lambda: proxy.seen["page"] > swept)
        await passed(0.5)
        # then: it starts nothing of what it saw, and one that comes meanwhile waits for its own answer
        assert len(receiver.arrivals) == (0 if outcome == "BLMOVE" else 1)
        proxy.let_go(outcome)
        await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == ({b"first": 1} if outcome == "BLMOVE" else pushed)


async def test_an_ack_that_found_nothing_is_followed_by_a_sweep_at_once(
    proxy: RedisProxy, client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """A hand that took one CDR may have put another: the next sweep would come in an hour."""
    receiver.gate.clear()
    await client.rpush(source, "taken", "kept")
    seldom = {"CDR_SWEEP_INTERVAL": "3600", "CDR_REDIS_URL": proxy.url}
    async with running(settings_from(variables | seldom)):
        await eventually(lambda: receiver.at_the_gate == 2 and proxy.seen["page"])
        # given: one that nobody claimed in the place of one that is being delivered
        await client.lrem(processing, 1, "taken")
        await client.rpush(processing, "stray")
        # when: the ack of the one that is gone finds nothing
        receiver.gate.set()
        # then: the other is found
        await eventually(lambda: receiver.bodies[b"stray"], deadline=5)
        await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == {b"taken": 1, b"kept": 1, b"stray": 1}


async def test_a_defer_that_found_nothing_is_followed_by_a_sweep_and_makes_no_copy(
    proxy: RedisProxy,
    client: Redis,
    receiver: Receiver,
    variables: dict[str, str],
    source: str,
    processing: str,
    integrator: str,
) -> None:
    """It was taken out by somebody, so it is not ours to try again."""
    receiver.status = 503
    receiver.gate.clear()
    await client.rpush(source, "taken")
    seldom = {"CDR_SWEEP_INTERVAL": "3600", "CDR_REDIS_URL": proxy.url}
    async with running(settings_from(variables | seldom)):
        await eventually(lambda: receiver.at_the_gate == 1 and proxy.seen["page"])
        await client.lrem(processing, 1, "taken")
        await client.rpush(processing, "stray")
        receiver.gate.set()
        await eventually(lambda: receiver.refusals[b"stray"], deadline=5)
        receiver.status = 204
        await eventually(lambda: gone(client, source, processing, *in_retry(integrator)))
    assert (receiver.bodies, receiver.refusals[b"taken"]) == ({b"stray": 1}, 1)


def in_retry(integrator: str) -> list[str]:
    return [f"{integrator}:retry:cdr", f"{integrator}:retrying:cdr"]


async def test_strays_are_not_started_during_a_hold(
    redis_server: EmbeddedRedis, client: Redis, integrator: str, source: str, processing: str
) -> None:
    """A receiver that asks for time gets it: also from what a sweep finds, and what waits in processing."""
    arrived_at: list[float] = []
    async with serve(holds_once(arrived_at)) as server:
        variables = environment(redis_server.url, server.url, integrator, sweep_interval="0.1")
        async with running(settings_from(variables), Timings(claim_wait=0.05)):  # a sweep waits for its end
            await client.rpush(source, "first")
            await eventually(lambda: arrived_at)
            await client.rpush(processing, *(f"stray {number}" for number in range(20)))
            await eventually(lambda: gone(client, source, processing, *in_retry(integrator)))
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
async def test_a_hundred_thousand_left_over_are_delivered_and_never_block_redis(
    own_redis: EmbeddedRedis,
    own_client: Redis,
    receiver: Receiver,
    integrator: str,
    processing: str,
    start_child: StartChild,
) -> None:
    """What a long outage of a predecessor may leave: read in pages, and no command takes 50 ms."""
    await own_client.config_set("appendonly", "no")
    await own_client.config_set("slowlog-log-slower-than", 50_000)
    for start in range(0, LEFT_OVER, 10_000):
        await own_client.rpush(processing, *(f"cdr {number}" for number in range(start, start + 10_000)))
    assert await own_client.llen(processing) == LEFT_OVER
    await own_client.slowlog_reset()
    settings = environment(own_redis.url, receiver.url, integrator, log_level="info", webhook_concurrency="64")
    await start_child(settings, "run")
    await eventually(lambda: gone(own_client, processing), deadline=300)
    assert receiver.bodies == {f"cdr {number}".encode(): 1 for number in range(LEFT_OVER)}
    assert await own_client.slowlog_get() == []
