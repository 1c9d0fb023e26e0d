"""Reports in a real Redis: who may write one, and what is read of whatever stands there."""

import time

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from app.store.client import Link
from app.store.keys import Slot, Topology
from app.store.minutes import Minute, Minutes
from tests.support.harness import settings_from


@pytest.fixture
def slot(variables: dict[str, str]) -> Slot:
    return Topology(settings_from(variables).sources[0]).short.slot(2)


async def test_only_the_owner_of_a_slot_reports(link: Link, slot: Slot, client: Redis) -> None:
    """One that was frozen does not write over the report of whoever has the slot now."""
    await client.set(slot.owner, "owner")
    write = link.script("report")
    assert await write(keys=[slot.report, slot.owner], args=["owner", "first", 60_000]) == 1
    assert await write(keys=[slot.report, slot.owner], args=["former owner", "late", 60_000]) == 0
    assert await client.get(slot.report) == b"first"
    assert 0 < await client.pttl(slot.report) <= 60_000


async def test_a_key_of_another_type_becomes_the_report(link: Link, slot: Slot, client: Redis) -> None:
    """The name is ours."""
    await client.set(slot.owner, "owner")
    await client.rpush(slot.report, "x")
    await link.script("report")(keys=[slot.report, slot.owner], args=["owner", "first", 60_000])
    assert await client.get(slot.report) == b"first"


async def test_what_is_no_report_is_read_as_none(link: Link, slot: Slot, client: Redis) -> None:
    """Another type, nothing at all, and what is too long to be one."""
    keys = [slot.report, f"{slot.report}:list", f"{slot.report}:long", f"{slot.report}:none"]
    await client.set(keys[0], "report")
    await client.rpush(keys[1], "x")
    await client.set(keys[2], "x" * 101)
    assert await link.script("reports")(keys=keys, args=[100]) == [b"report", b"", b"", b""]


async def test_a_full_redis_takes_reports_and_minutes(
    own_redis: EmbeddedRedis, own_client: Redis, variables: dict[str, str]
) -> None:
    """That is when an operator looks at them."""
    link = Link(settings_from(variables | {"CDR_REDIS_URL": own_redis.url}).sources[0])
    keys = Topology(settings_from(variables).sources[0]).short
    slot, minute = keys.slot(1), int(time.time() // 60)
    await own_client.set(slot.owner, "owner")
    await own_client.config_set("maxmemory", "1")
    await own_client.config_set("maxmemory-policy", "noeviction")
    await link.script("report")(keys=[slot.report, slot.owner], args=["owner", "first", 60_000])
    assert await Minutes(link).add(keys, slot, 1, [Minute(minute, 1, 0, 2)])
    assert await own_client.get(slot.report) == b"first"
    assert await own_client.hget(keys.minutes, str(minute)) == b"1 0 2"
    await link.aclose()
