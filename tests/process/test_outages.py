"""Redis is killed, frozen, unreachable or late: what is in it is delivered, and what was delivered is acked."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.cdr import History
from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis
from app.store.retry_set import member_of
from tests.support.harness import Child, eventually, gone, running, settings_from
from tests.support.proxy import RedisProxy, nth
from tests.support.receiver import Receiver
from tests.support.world import World

LEASE = 1.0
LONGER_THAN_THE_LEASE = 1.5

TWINS = Counter({b"twin": 50} | {f"cdr {number}".encode(): 1 for number in range(1950)})
FEW = Counter({b"a": 1, b"b": 1, b"twin": 3})


@pytest.fixture
def world(own_world: World) -> World:
    """A Redis that the test may take away before a backlog is drained."""
    own_world.receiver.delay = 0.01
    return own_world.with_variables(lease=str(LEASE), webhook_concurrency="8")


async def killed(redis: EmbeddedRedis) -> None:
    await asyncio.to_thread(redis.kill)


async def started(redis: EmbeddedRedis) -> None:
    await asyncio.to_thread(redis.start)


async def frozen(redis: EmbeddedRedis) -> None:
    redis.process.send_signal(signal.SIGSTOP)


async def thawed(redis: EmbeddedRedis) -> None:
    redis.process.send_signal(signal.SIGCONT)


Change = Callable[[EmbeddedRedis], Awaitable[None]]

goes_and_comes = pytest.mark.parametrize(
    ("goes", "comes"), [(killed, started), (frozen, thawed)], ids=["killed", "frozen"]
)


def append_only_file(redis: EmbeddedRedis) -> Path:
    """Return what Redis writes to: one file until 6.2, a series of them since 7.0."""
    found = [path for name in ("appendonly.aof", "*.incr.aof") for path in redis.directory.rglob(name)]
    return max(found, key=lambda path: path.stat().st_mtime)


async def many_delivered(receiver: Receiver, number: int) -> None:
    await eventually(lambda: receiver.bodies.total() >= number)


async def after(seconds: float) -> None:
    """Wait for an outage to become that long: its length is the condition."""
    over = time.monotonic() + seconds
    await eventually(lambda: time.monotonic() >= over)


def outages(forwarder: Child) -> list[str]:
    """Return what the log says of outages, in its order."""
    return [event["event"] for event in forwarder.events() if event["event"] in {"redis.lost", "redis.back"}]


async def test_a_killed_redis_loses_nothing(world: World) -> None:
    """SIGKILL three times in the middle of claims and acks; what it had answered is in its AOF."""
    await world.redis.rpush(world.source, *TWINS.elements())
    await world.start()
    for delivered in (100, 300, 600):
        await many_delivered(world.receiver, delivered)
        await killed(world.server)
        await started(world.server)
        assert await world.redis.exists(world.source)
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert TWINS - world.receiver.bodies == Counter()


async def test_a_redis_that_starts_after_us_is_waited_for(world: World) -> None:
    """The forwarder begins when Redis does; the wait is two lines in its log."""
    await world.redis.rpush(world.source, *FEW.elements())
    await killed(world.server)
    forwarder = await world.start()
    await eventually(lambda: forwarder.events("redis.lost"))
    await started(world.server)
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == FEW
    assert outages(forwarder) == ["redis.lost", "redis.back"]


@pytest.mark.parametrize("seconds", [0.0, LONGER_THAN_THE_LEASE], ids=["within the lease", "longer than the lease"])
async def test_what_is_delivered_while_redis_is_away_is_acked_afterwards(seconds: float, world: World) -> None:
    """Deliveries go on, and nothing is sent twice for it; the outage is two lines, the second with its length."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, *FEW.elements())
    forwarder = await world.start()
    await eventually(lambda: world.receiver.at_the_gate == FEW.total())
    await killed(world.server)
    await eventually(lambda: forwarder.events("redis.lost"))
    world.receiver.gate.set()
    await eventually(lambda: world.receiver.bodies == FEW)
    await after(seconds)
    await started(world.server)
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == FEW
    assert outages(forwarder) == ["redis.lost", "redis.back"]
    assert forwarder.events("redis.back")[0]["after"] >= seconds
    assert bool(forwarder.events("lease.expired")) == bool(seconds)


async def test_each_outage_is_two_lines(world: World) -> None:
    """However many commands it fails and however often they are sent again."""
    forwarder = await world.start()
    await eventually(lambda: forwarder.events("slot.taken"))
    for number in (1, 2, 3):
        await killed(world.server)
        await after(LEASE / 2)
        await started(world.server)
        await eventually(partial(lambda times: len(forwarder.events("redis.back")) == times, number))
    assert outages(forwarder) == 3 * ["redis.lost", "redis.back"]


async def test_a_redis_that_was_stopped_and_goes_on_loses_nothing(world: World) -> None:
    """SIGSTOP until commands have failed, then SIGCONT: Redis now does what nobody waits for any more."""
    await world.redis.rpush(world.source, *TWINS.elements())
    forwarder = await world.start()
    await many_delivered(world.receiver, 100)
    await frozen(world.server)
    await eventually(lambda: forwarder.events("redis.lost"))
    await thawed(world.server)
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert TWINS - world.receiver.bodies == Counter()


async def test_commands_that_arrive_late_are_applied_once(world: World, proxy: RedisProxy) -> None:
    """The network falls silent several times, and hands over afterwards what was sent and given up meanwhile."""
    impatient = Timings(reply_patience=0.2, claim_wait=0.2)
    await world.redis.rpush(world.source, *TWINS.elements())
    async with running(settings_from(world.variables | {"CDR_REDIS_URL": proxy.url}), impatient):
        for delivered in (100, 400, 700):
            await many_delivered(world.receiver, delivered)
            proxy.freeze()
            await after(LEASE / 2)
            assert await world.redis.exists(world.source)
            proxy.thaw()
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert TWINS - world.receiver.bodies == Counter()


async def test_a_redis_that_cannot_be_reached_is_tried_again(world: World, proxy: RedisProxy) -> None:
    """Connections are cut and refused while Redis itself goes on: claims and acks of which nobody was told."""
    await world.redis.rpush(world.source, *TWINS.elements())
    async with running(settings_from(world.variables | {"CDR_REDIS_URL": proxy.url})):
        for delivered in (100, 400, 700):
            await many_delivered(world.receiver, delivered)
            await proxy.refuse()
            await after(LEASE / 4)
            assert await world.redis.exists(world.source)
            await proxy.listen()
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert TWINS - world.receiver.bodies == Counter()


@pytest.mark.parametrize("command", ["CLIENT SETNAME", "take", "settle_and_claim"])
async def test_a_connection_that_is_reset_behind_a_reply_is_an_outage_like_others(
    command: str, world: World, proxy: RedisProxy
) -> None:
    """Redis dies as it accepts us: uvloop, for one, then refuses to write, with an error of its own."""
    proxy.loses = nth("connection", command, times=6)
    await world.redis.rpush(world.source, *FEW.elements())
    forwarder = await world.start({"CDR_REDIS_URL": proxy.url})
    await eventually(lambda: forwarder.process.returncode is not None or proxy.lost["connection", command])
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert forwarder.process.returncode is None


async def test_a_redis_that_forgets_our_scripts_is_told_again(world: World) -> None:
    """SCRIPT FLUSH in the middle of a backlog, as by a failover: nothing comes twice."""
    await world.redis.rpush(world.source, *TWINS.elements())
    async with running(world.settings):
        for delivered in (100, 300, 600):
            await many_delivered(world.receiver, delivered)
            await world.redis.script_flush()
            assert await world.redis.exists(world.source)
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == TWINS


async def test_a_redis_that_comes_back_as_it_was_before_loses_nothing(world: World) -> None:
    """Power was lost, and with it the last claims and acks: their CDRs are there again, and arrive again."""
    await world.redis.rpush(world.source, *TWINS.elements())
    await world.start()
    await many_delivered(world.receiver, 300)
    kept = append_only_file(world.server).stat().st_size
    await many_delivered(world.receiver, 500)
    await killed(world.server)
    os.truncate(append_only_file(world.server), kept)
    await started(world.server)
    assert await world.redis.llen(world.source) > TWINS.total() - 500
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert TWINS - world.receiver.bodies == Counter()


async def test_two_forwarders_outlast_an_outage_that_ends_both_leases(world: World) -> None:
    """Whoever comes first may take the other's list, and what is in it; each has one in the end."""
    world.receiver.gate.clear()
    plenty = [*FEW.elements()] * 40  # more than one of them claims ahead of its workers
    await world.redis.rpush(world.source, *plenty)
    few_each = {"CDR_WEBHOOK_CONCURRENCY": str(FEW.total())}
    forwarders = [await world.start(few_each) for _ in range(2)]
    await eventually(lambda: world.receiver.at_the_gate == 2 * FEW.total())
    await killed(world.server)
    await after(LONGER_THAN_THE_LEASE)
    await started(world.server)
    world.receiver.gate.set()
    await eventually(lambda: gone(world.redis, world.source, world.processing, f"{world.processing}:2"))
    assert Counter(plenty) - world.receiver.bodies == Counter()
    assert all(len(outages(forwarder)) == 2 for forwarder in forwarders)
    await eventually(lambda: both_own(world.redis, world.processing))


async def both_own(client: Redis, processing: str) -> bool:
    owners = await client.mget(f"{processing}:owner", f"{processing}:2:owner")
    return None not in owners and len(set(owners)) == 2


@goes_and_comes
async def test_a_stop_while_redis_is_away_and_nothing_is_on_the_wire_is_in_time(
    goes: Change, comes: Change, world: World
) -> None:
    """Exit status 0 within the grace: no attempt was cut off."""
    forwarder = await world.start({"CDR_SHUTDOWN_GRACE": "1"})
    await eventually(lambda: forwarder.events("slot.taken"))
    await goes(world.server)
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended(deadline=8) == 0
    await comes(world.server)


@goes_and_comes
async def test_a_stop_that_cannot_ack_ends_with_the_grace(goes: Change, comes: Change, world: World) -> None:
    """Exit status 3: what was delivered is still in processing, and the next process delivers it again."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, *FEW.elements())
    forwarder = await world.start({"CDR_SHUTDOWN_GRACE": "1"})
    await eventually(lambda: world.receiver.at_the_gate == FEW.total())
    await goes(world.server)
    world.receiver.gate.set()
    await eventually(lambda: world.receiver.bodies == FEW)
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended(deadline=8) == 3
    await comes(world.server)
    await world.start()
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert FEW - world.receiver.bodies == Counter()


# --- what was deferred during an outage of the endpoint


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_what_failed_in_an_outage_is_due_within_a_minute_of_its_end(world: World) -> None:
    """Default pauses, and a backoff that may grow to an hour: twenty failures of an outage cost no more than one."""
    failed = member_of(
        "token-1", History(attempts=20, first_failed_at=1, last_failed_at=1, last_result="http_5xx"), b"a"
    )
    retry = world.retry
    world.receiver.status = 503
    await world.redis.zadd(retry, {failed: 0})
    hour = {"CDR_WEBHOOK_BACKOFF": "1", "CDR_WEBHOOK_BACKOFF_MAX": "3600"}
    async with running(settings_from(world.variables | hour)):
        await eventually(lambda: world.receiver.refusals[b"a"])
        world.receiver.status = 204
        await eventually(lambda: gone(world.redis, retry, world.retrying), deadline=70)
    assert world.receiver.bodies == {b"a": 1}


async def test_an_outage_that_the_breaker_never_saw_ends_for_what_was_deferred(world: World) -> None:
    """Three CDRs, fewer than open it: their pauses stay at the longest one of an outage, here half a second."""
    world.receiver.status = 503
    await world.redis.rpush(world.source, "a", "b", "c")
    hour = {"CDR_WEBHOOK_BACKOFF": "0.01", "CDR_WEBHOOK_BACKOFF_MAX": "3600"}
    async with running(settings_from(world.variables | hour), Timings(between_rejections=0.5)):
        await eventually(lambda: all(world.receiver.refusals[body] >= 12 for body in (b"a", b"b", b"c")), deadline=40)
        world.receiver.status = 204
        await eventually(lambda: world.receiver.bodies == {b"a": 1, b"b": 1, b"c": 1}, deadline=3)


async def test_what_was_pending_at_the_end_of_an_outage_comes_oldest_first(world: World) -> None:
    """Of either end of the list: what was claimed ahead and given back stands again where it stood."""
    pushed = [b"cdr %d" % number for number in range(60)]
    quick = Timings(first_probe=0.05, longest_probe=0.1, claim_wait=0.1, channels=1)
    for oldest, newest_last in (("head", world.redis.rpush), ("tail", world.redis.lpush)):
        world.receiver.arrivals.clear()
        world.receiver.status = 503
        await newest_last(world.source, *pushed)
        one = world.variables | {
            "CDR_WEBHOOK_CONCURRENCY": "1",
            "CDR_WEBHOOK_BREAKER_THRESHOLD": "2",
            "CDR_SOURCE_OLDEST": oldest,
        }
        async with running(settings_from(one), quick) as service:
            await eventually(lambda: service.parts.lanes and service.parts.lanes[0].lane.is_shut)
            await eventually(lambda: len(world.receiver.arrivals) >= 5)
            world.receiver.status = 204
            await eventually(lambda: gone(world.redis, world.source, world.processing))
            await eventually(lambda: world.receiver.bodies == Counter(pushed))
        first = [one.body for one in world.receiver.arrivals if one.attempt == 1]
        assert first == pushed
