"""Minutes in a real Redis: several processes add to the same ones, late ones too, and nothing is added twice."""

import time
from typing import Any

import pytest
from redis.asyncio import Redis

from app.store.client import Link
from app.store.keys import LaneKeys
from app.store.minutes import A_DAY, Minute, Minutes, read_history


@pytest.fixture
def now() -> int:
    return int(time.time() // 60)


async def history(link: Link, keys: LaneKeys, number: int = 60) -> list[Minute]:
    return read_history(await link.script("history")(keys=[keys.minutes], args=[number]))


async def test_processes_add_into_the_same_minute(link: Link, keys: LaneKeys, now: int) -> None:
    """Deliveries and failures are added up; the backlog, which both see, is not."""
    await Minutes(link).add(keys, keys.slot(1), 1, [Minute(now - 1, 10, 1, 500), Minute(now, 3, 0, 400)])
    await Minutes(link).add(keys, keys.slot(2), 1, [Minute(now - 1, 5, 2, 700)])
    assert await history(link, keys) == [Minute(now, 3, 0, 400), Minute(now - 1, 15, 3, 700)]


async def test_minutes_whose_reply_was_lost_are_added_once(link: Link, keys: LaneKeys, now: int) -> None:
    """They are sent again, with those that ended meanwhile."""
    minutes, slot = Minutes(link), keys.slot(1)
    await minutes.add(keys, slot, 1, [Minute(now - 2, 10, 1, 5)])
    await minutes.add(keys, slot, 1, [Minute(now - 2, 10, 1, 5), Minute(now - 1, 1, 0, 4)])
    await minutes.add(keys, slot, 1, [Minute(now - 2, 10, 1, 5), Minute(now - 1, 1, 0, 4)])
    assert await history(link, keys) == [Minute(now - 1, 1, 0, 4), Minute(now - 2, 10, 1, 5)]


async def test_a_late_minute_is_added_where_it_belongs(link: Link, keys: LaneKeys, now: int) -> None:
    """Redis was away for an hour; and a minute may come twice, where a clock was set back."""
    minutes, slot = Minutes(link), keys.slot(1)
    await minutes.add(keys, slot, 1, [Minute(now, 1, 0, 0)])
    await minutes.add(keys, slot, 2, [Minute(now - 50, 2, 0, 9), Minute(now, 4, 0, 0)])
    assert await history(link, keys) == [Minute(now, 5, 0, 0), Minute(now - 50, 2, 0, 9)]


async def test_a_day_is_kept(link: Link, keys: LaneKeys, client: Redis, now: int) -> None:
    """And no field more, whoever wrote it; the key ends when nobody adds to it."""
    odd: dict[Any, Any] = {b"\xff": 1, "nan": 1, "1e300": 1, f"0{now}": 1, f"{now}.5": 1, "": 1, str(now + 9): 1}
    await client.hset(keys.minutes, mapping=odd | {str(now - back): "1 0 0" for back in range(2 * A_DAY)})
    await Minutes(link).add(keys, keys.slot(1), 1, [Minute(now, 1, 0, 0), Minute(now - 2 * A_DAY, 1, 0, 0)])
    fields = {int(field) for field in await client.hkeys(keys.minutes)}
    assert len(fields) <= A_DAY
    assert now in fields
    assert min(fields) > now - A_DAY
    assert 0 < await client.pttl(keys.minutes) <= A_DAY * 60_000


@pytest.mark.parametrize("value", ["", "1 2", "abc", "1e300 1 1", "-1 0 0", "1 2 3 4", "9" * 5000, b"\xff"])
async def test_a_damaged_value_counts_as_nothing(
    value: str, link: Link, keys: LaneKeys, client: Redis, now: int
) -> None:
    """It is replaced by what is added."""
    await client.hset(keys.minutes, str(now), value)
    assert await history(link, keys) == []
    await Minutes(link).add(keys, keys.slot(1), 1, [Minute(now, 1, 0, 2)])
    assert await history(link, keys) == [Minute(now, 1, 0, 2)]


async def test_a_key_of_another_type_is_left_alone(link: Link, keys: LaneKeys, client: Redis, now: int) -> None:
    """And takes nothing, so nothing piles up for it."""
    await client.set(keys.minutes, "somebody's")
    assert await Minutes(link).add(keys, keys.slot(1), 1, [Minute(now, 1, 0, 2)])
    assert await history(link, keys) == []
    assert await client.get(keys.minutes) == b"somebody's"


async def test_redis_that_refuses_is_nobodys_matter(link: Link, keys: LaneKeys, client: Redis, now: int) -> None:
    """The minutes wait, and the process stays ready."""
    await client.set(keys.slot(1).ops, "somebody's")
    assert not await Minutes(link).add(keys, keys.slot(1), 1, [Minute(now, 1, 0, 2)])
    assert not link.refused
