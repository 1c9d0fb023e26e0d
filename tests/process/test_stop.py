"""SIGTERM while the receiver is half sick."""

import signal

import pytest

from tests.support.forwarder import numbered
from tests.support.harness import Child, eventually
from tests.support.pace import clock
from tests.support.scripted import BROKEN, Answer
from tests.support.slow_link import SlowLink
from tests.support.world import DefaultWorld


@pytest.fixture
def world(default_world: DefaultWorld) -> DefaultWorld:
    return default_world


async def everywhere(world: DefaultWorld) -> set[bytes]:
    """Return the CDRs that are pending, in processing or in the retry set; those of the retry set with their header."""
    redis = world.redis
    lists = [*await redis.lrange(world.source, 0, -1), *await redis.lrange(world.processing, 0, -1)]
    return {*lists, *await redis.zrange(world.retry, 0, -1), *await redis.zrange(world.retrying, 0, -1)}


def seconds_to_stop(forwarder: Child, asked_at: float) -> float:
    assert forwarder.process.returncode == 0
    return clock() - asked_at


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("round_trip", "within"), [(0.0, 3), (0.2, 6)], ids=["near", "Redis 200 ms away"])
async def test_a_stop_while_many_fail_is_prompt(round_trip: float, within: float, world: DefaultWorld) -> None:
    """200 CDRs are answered 500: it ends within 3 s (more where each command takes 200 ms), and has lost none."""
    world.receiver.script = lambda _: BROKEN
    bad = numbered("bad", 200)
    async with SlowLink(world.server.port, seconds=round_trip / 2) as link:
        forwarder = await world.start({"CDR_WEBHOOK_CONCURRENCY": "256", "CDR_REDIS_URL": link.url}, slot=1)
        await world.redis.rpush(world.source, *bad)
        await eventually(lambda: len(world.receiver.arrived) >= 10)
        held_at = clock()
        await eventually(lambda: len(world.receiver.arrived) == 200 or clock() > held_at + 3)
        asked_at = clock()
        forwarder.signal(signal.SIGTERM)
        await forwarder.ended()
        assert seconds_to_stop(forwarder, asked_at) < within
    kept = await everywhere(world)
    assert not [cdr for cdr in bad if not any(one.endswith(cdr) for one in kept)]


@pytest.mark.timeout(60)
async def test_a_stop_during_a_hold_posts_nothing(world: DefaultWorld) -> None:
    """The endpoint has asked for 60 s; what was claimed meanwhile is kept in Redis, and not sent."""
    world.receiver.script = lambda _: Answer(503, headers=(("retry-after", "60"),))
    forwarder = await world.start(slot=1)
    await world.redis.rpush(world.source, "held")
    await eventually(lambda: world.receiver.requests)
    held_at = clock()
    await world.redis.rpush(world.source, "a", "b", "c")
    await eventually(lambda: clock() > held_at + 1.5)
    posts = len(world.receiver.requests)
    asked_at = clock()
    forwarder.signal(signal.SIGTERM)
    await forwarder.ended()
    assert seconds_to_stop(forwarder, asked_at) < 3
    assert len(world.receiver.requests) == posts == 1
    kept = await everywhere(world)
    assert {b"a", b"b", b"c"} <= kept
    assert any(one.endswith(b"held") for one in kept)
