"""SIGTERM while the receiver is half sick."""

import signal

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.process.conftest import StartForwarder
from tests.support.forwarder import numbered
from tests.support.harness import Child, eventually
from tests.support.pace import clock
from tests.support.scripted import BROKEN, Answer, ScriptedReceiver
from tests.support.slow_link import SlowLink


async def everywhere(client: Redis, integrator: str, source: str) -> set[bytes]:
    """Return the CDRs that are pending, in processing or in the retry set; those of the retry set with their header."""
    processing, retry, retrying = (f"{integrator}:{place}:cdr" for place in ("processing", "retry", "retrying"))
    lists = [*await client.lrange(source, 0, -1), *await client.lrange(processing, 0, -1)]
    return {*lists, *await client.zrange(retry, 0, -1), *await client.zrange(retrying, 0, -1)}


def seconds_to_stop(forwarder: Child, asked_at: float) -> float:
    assert forwarder.process.returncode == 0
    return clock() - asked_at


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("round_trip", "within"), [(0.0, 3), (0.2, 6)], ids=["near", "Redis 200 ms away"])
async def test_a_stop_while_many_fail_is_prompt(
    round_trip: float,
    within: float,
    start_forwarder: StartForwarder,
    defaults: dict[str, str],
    redis_server: EmbeddedRedis,
    scripted: ScriptedReceiver,
    client: Redis,
    integrator: str,
    source: str,
) -> None:
    """200 CDRs are answered 500: it ends within 3 s (more where each command takes 200 ms), and has lost none."""
    scripted.script = lambda _: BROKEN
    bad = numbered("bad", 200)
    async with SlowLink(redis_server.port, seconds=round_trip / 2) as link:
        forwarder = await start_forwarder(defaults | {"CDR_WEBHOOK_CONCURRENCY": "256", "CDR_REDIS_URL": link.url})
        await client.rpush(source, *bad)
        await eventually(lambda: len(scripted.arrived) >= 10)
        held_at = clock()
        await eventually(lambda: len(scripted.arrived) == 200 or clock() > held_at + 3)
        asked_at = clock()
        forwarder.signal(signal.SIGTERM)
        await forwarder.ended()
        assert seconds_to_stop(forwarder, asked_at) < within
    kept = await everywhere(client, integrator, source)
    assert not [cdr for cdr in bad if not any(one.endswith(cdr) for one in kept)]


@pytest.mark.timeout(60)
async def test_a_stop_during_a_hold_posts_nothing(
    start_forwarder: StartForwarder,
    defaults: dict[str, str],
    scripted: ScriptedReceiver,
    client: Redis,
    integrator: str,
    source: str,
) -> None:
    """The endpoint has asked for 60 s; what was claimed meanwhile is kept in Redis, and not sent."""
    scripted.script = lambda _: Answer(503, headers=(("retry-after", "60"),))
    forwarder = await start_forwarder(defaults)
    await client.rpush(source, "held")
    await eventually(lambda: scripted.requests)
    held_at = clock()
    await client.rpush(source, "a", "b", "c")
    await eventually(lambda: clock() > held_at + 1.5)
    posts = len(scripted.requests)
    asked_at = clock()
    forwarder.signal(signal.SIGTERM)
    await forwarder.ended()
    assert seconds_to_stop(forwarder, asked_at) < 3
    assert len(scripted.requests) == posts == 1
    kept = await everywhere(client, integrator, source)
    assert {b"a", b"b", b"c"} <= kept
    assert any(one.endswith(b"held") for one in kept)
