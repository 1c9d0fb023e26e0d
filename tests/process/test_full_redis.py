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
from tests.conftest import StartChild
from tests.support.harness import environment, eventually, gone, running, settings_from
from tests.support.receiver import Receiver
from tests.support.servers import KINDS, server_of

BACKLOG = Counter([f"cdr {number} {'x' * 500}".encode() for number in range(2000)] + [b"twin"] * 20)
POISON = Counter([b"poison 1", b"poison 2"])
FLAKY = Counter([b"flaky 1", b"flaky 2"])
ALL = BACKLOG + POISON + FLAKY

NEVER_ENOUGH = "1"


@pytest.fixture(params=KINDS)
async def redis(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EmbeddedRedis]:
    """A server of each kind that is installed."""
    async with EmbeddedRedis(tmp_path, server=server_of(request.param), appendonly=False) as redis:
        yield redis


@pytest.fixture
async def admin(redis: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis.url, protocol=2) as client:
        yield client


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


@pytest.fixture
def full(redis: EmbeddedRedis, receiver: Receiver, integrator: str) -> dict[str, str]:
    """CDR_* variables of a forwarder on the Redis that is full."""
    return environment(redis.url, receiver.url, integrator, sweep_interval="0.2")


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


def in_retry(integrator: str) -> list[str]:
    return [f"{integrator}:retry:cdr", f"{integrator}:retrying:cdr"]


async def dead_letters(client: Redis, key: str) -> Counter[bytes]:
    return Counter(json.loads(letter)["cdr"].encode() for letter in await client.lrange(key, 0, -1))


@pytest.mark.parametrize("limit", ["", NEVER_ENOUGH], ids=["just full", "full whatever is removed"])
async def test_a_full_redis_drains(
    limit: str,
    admin: Redis,
    full: dict[str, str],
    receiver: Receiver,
    integrator: str,
    source: str,
    processing: str,
    dead: str,
) -> None:
    """From the start: the slot is taken; claims, acks, defers and dead letters go on until nothing is left."""
    moody(receiver)
    await fill(admin, source, ALL, limit)
    async with running(settings_from(full), Timings(patience=0.2)):
        await eventually(lambda: gone(admin, source, processing))
        # when: others are accepted, so that a rejection is the fault of what is rejected
        await admin.config_set("maxmemory", "0")
        await admin.rpush(source, "later")
        await admin.config_set("maxmemory", NEVER_ENOUGH)
        await eventually(lambda: gone(admin, source, processing, *in_retry(integrator)))
    assert receiver.bodies == BACKLOG + FLAKY + Counter([b"later"])
    assert POISON + POISON + FLAKY - receiver.refusals == Counter()
    assert await dead_letters(admin, dead) == POISON


async def test_a_redis_that_fills_up_meanwhile_drains(
    admin: Redis, full: dict[str, str], receiver: Receiver, source: str, processing: str, said: list[EventDict]
) -> None:
    """The waiting claim is refused, which is told as a warning; the other way of claiming takes over."""
    async with running(settings_from(full)):
        await eventually(lambda: admin.exists(f"{processing}:owner"))
        await fill(admin, source, BACKLOG, NEVER_ENOUGH)
        await eventually(lambda: gone(admin, source, processing))
        await eventually(lambda: [event for event in said if event["event"] == "redis.refused"])
        # when: there is room again
        await admin.config_set("maxmemory", "0")
        await admin.rpush(source, "later")
        await eventually(lambda: receiver.bodies[b"later"])
        await eventually(lambda: [event for event in said if event["event"] == "redis.accepted"])
    assert receiver.bodies == BACKLOG + Counter([b"later"])
    assert {event["log_level"] for event in said if event["event"] == "redis.refused"} == {"warning"}


async def test_the_cdrs_of_a_process_that_died_in_a_full_redis_are_delivered(
    admin: Redis,
    full: dict[str, str],
    receiver: Receiver,
    source: str,
    processing: str,
    start_child: StartChild,
) -> None:
    """Its lease ends; another takes a slot, adopts the list and delivers."""
    receiver.gate.clear()
    await fill(admin, source, BACKLOG, NEVER_ENOUGH)
    victim = await start_child(full | {"CDR_WEBHOOK_CONCURRENCY": "200"}, "run")
    await eventually(lambda: receiver.at_the_gate == 200)
    async with running(settings_from(full)):
        await eventually(lambda: admin.exists(f"{processing}:2:owner"))
        await victim.kill()
        receiver.gate.set()
        await eventually(lambda: gone(admin, source, processing, f"{processing}:2"))
    assert BACKLOG - receiver.bodies == Counter()


async def test_leases_are_kept_in_a_full_redis(
    admin: Redis, full: dict[str, str], receiver: Receiver, source: str, processing: str, said: list[EventDict]
) -> None:
    """A delivery may take longer than the lease: nobody else gets the list."""
    receiver.gate.clear()
    await fill(admin, source, BACKLOG, NEVER_ENOUGH)
    async with running(settings_from(full | {"CDR_LEASE": "1"})):
        await eventually(lambda: receiver.at_the_gate)
        beginning = time.monotonic()
        await eventually(lambda: time.monotonic() - beginning > 2)
        assert not {"lease.expired", "slot.lost"} & {event["event"] for event in said}
        receiver.gate.set()
        await eventually(lambda: gone(admin, source, processing))
    assert receiver.bodies == BACKLOG
