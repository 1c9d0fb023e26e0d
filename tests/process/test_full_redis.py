"""A Redis over `maxmemory` drains: were claims and acks refused, a backlog that fills it would stay for ever."""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis
from tests.support.harness import eventually, gone, running, settings_from
from tests.support.receiver import Receiver
from tests.support.servers import KINDS, server_of
from tests.support.world import World

BACKLOG = Counter([f"cdr {number} {'x' * 500}".encode() for number in range(2000)] + [b"twin"] * 20)
POISON = Counter([b"poison 1", b"poison 2"])
FLAKY = Counter([b"flaky 1", b"flaky 2"])
ALL = BACKLOG + POISON + FLAKY

NEVER_ENOUGH = "1"


@pytest.fixture(params=KINDS)
async def redis_server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EmbeddedRedis]:
    """A server of each kind that is installed, for the test to fill."""
    async with EmbeddedRedis(tmp_path, server=server_of(request.param), appendonly=False) as server:
        yield server


@pytest.fixture
def world(world: World) -> World:
    return world.with_variables(sweep_interval="0.2")


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


async def fill(client: Redis, key: str, cdrs: Counter[bytes], limit: str = "") -> None:
    """Push, and let what was pushed be more than `maxmemory`: just so, or by far."""
    await client.rpush(key, *cdrs.elements())
    used = (await client.info("memory"))["used_memory"]
    await client.config_set("maxmemory", limit or str(used - 1))
    with pytest.raises(OutOfMemoryError):
        await client.rpush(key, "one more")


def moody(receiver: Receiver) -> None:
    """Reject what is poison, and accept what is flaky at the second attempt."""
    refusals = +FLAKY

    def judge(body: bytes) -> int:
        if body in POISON:
            return 400
        refusals[body] -= 1
        return 503 if refusals[body] >= 0 else 204

    receiver.judge = judge


async def dead_letters(client: Redis, key: str) -> Counter[bytes]:
    return Counter(json.loads(letter)["cdr"].encode() for letter in await client.lrange(key, 0, -1))


@pytest.mark.parametrize("limit", ["", NEVER_ENOUGH], ids=["just full", "full whatever is removed"])
async def test_a_full_redis_drains(limit: str, world: World) -> None:
    """From the start: the slot is taken; claims, acks, defers and dead letters go on until nothing is left."""
    moody(world.receiver)
    await fill(world.redis, world.source, ALL, limit)
    async with running(world.settings, Timings(between_rejections=0.2)):
        await eventually(lambda: gone(world.redis, world.source, world.processing))
        # when: others are accepted, so that a rejection is the fault of what is rejected
        await world.redis.config_set("maxmemory", "0")
        await world.redis.rpush(world.source, "later")
        await world.redis.config_set("maxmemory", NEVER_ENOUGH)
        await eventually(lambda: gone(world.redis, world.source, world.processing, world.retry, world.retrying))
    assert world.receiver.bodies == BACKLOG + FLAKY + Counter([b"later"])
    assert POISON + POISON + FLAKY - world.receiver.refusals == Counter()
    assert await dead_letters(world.redis, world.dead) == POISON


async def test_a_redis_that_fills_up_meanwhile_drains(world: World, said: list[EventDict]) -> None:
    """The waiting claim is refused, which is told as a warning; the other way of claiming takes over."""
    async with running(world.settings):
        await eventually(lambda: world.redis.exists(f"{world.processing}:owner"))
        await fill(world.redis, world.source, BACKLOG, NEVER_ENOUGH)
        await eventually(lambda: gone(world.redis, world.source, world.processing))
        await eventually(lambda: [event for event in said if event["event"] == "redis.refused"])
        # when: there is room again
        await world.redis.config_set("maxmemory", "0")
        await world.redis.rpush(world.source, "later")
        await eventually(lambda: world.receiver.bodies[b"later"])
        await eventually(lambda: [event for event in said if event["event"] == "redis.accepted"])
    assert world.receiver.bodies == BACKLOG + Counter([b"later"])
    assert {event["log_level"] for event in said if event["event"] == "redis.refused"} == {"warning"}


async def test_the_cdrs_of_a_process_that_died_in_a_full_redis_are_delivered(world: World) -> None:
    """Its lease ends; another takes a slot, adopts the list and delivers."""
    world.receiver.gate.clear()
    await fill(world.redis, world.source, BACKLOG, NEVER_ENOUGH)
    victim = await world.start({"CDR_WEBHOOK_CONCURRENCY": "200"})
    await eventually(lambda: world.receiver.at_the_gate == 200)
    async with running(world.settings):
        await eventually(lambda: world.redis.exists(f"{world.processing}:2:owner"))
        await victim.kill()
        world.receiver.gate.set()
        await eventually(lambda: gone(world.redis, world.source, world.processing, f"{world.processing}:2"))
    assert BACKLOG - world.receiver.bodies == Counter()


async def test_leases_are_kept_in_a_full_redis(world: World, said: list[EventDict]) -> None:
    """A delivery may take longer than the lease: nobody else gets the list."""
    world.receiver.gate.clear()
    await fill(world.redis, world.source, BACKLOG, NEVER_ENOUGH)
    async with running(settings_from(world.variables | {"CDR_LEASE": "2"})):
        await eventually(lambda: world.receiver.at_the_gate)
        beginning = time.monotonic()
        await eventually(lambda: time.monotonic() - beginning > 3)
        assert not {"lease.expired", "slot.lost"} & {event["event"] for event in said}
        world.receiver.gate.set()
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == BACKLOG
