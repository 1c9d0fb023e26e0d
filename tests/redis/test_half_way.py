"""A refusal after some of a script's commands were done: Lua does not roll back, the scripts do."""

import pytest

from app.cdr import NEVER_FAILED
from app.store.exchange import Distributed, Settlement
from app.store.retry_set import member_of
from tests.redis.conftest import LIMITED
from tests.redis.rig import MIB, Rig, acl

WAITS = member_of("t-1", NEVER_FAILED, b"waits")


async def allow(rig: Rig, command: str, *keys: str) -> None:
    """Let the limited user give a command to some keys only."""
    selector = f"(+{command} {' '.join(f'~{key}' for key in keys)})"
    await acl(rig.redis, "SETUSER", LIMITED, f"-{command}", selector)


async def distribute(rig: Rig) -> Distributed:
    queue = rig.queue()
    lanes = [(lane, "passing") for lane in rig.topology.lanes.values()]
    done = await queue.distribute(queue.channel(), lanes, 100, MIB, 100)
    assert done
    return done


@pytest.mark.parametrize("refused", range(3))
async def test_a_push_is_taken_back_from_the_lanes_before(selective_rig: Rig, refused: int) -> None:
    """The CDR is in no lane, what was there is as it was, and it waits in processing."""
    rig = selective_rig
    lanes = list(rig.topology.lanes.values())
    await rig.redis.rpush(rig.slot.processing, "1", "2")
    for lane in lanes:
        await rig.redis.rpush(lane.pending, "older", "newer")
    await allow(rig, "rpush", "nothing", *(lane.pending for lane in lanes[:refused]))
    done = await distribute(rig)
    assert (done.given, bool(done.refusal)) == (0, True)
    assert [await rig.elements(lane.pending) for lane in lanes] == [[b"older", b"newer"]] * 3
    assert await rig.processing() == [b"1", b"2"]


async def test_all_pushes_are_taken_back_where_it_cannot_be_removed(selective_rig: Rig) -> None:
    """The right to remove it went away between the trial on the scratch key and the removal."""
    rig = selective_rig
    lanes = list(rig.topology.lanes.values())
    await rig.redis.rpush(rig.slot.processing, "1", "2")
    await allow(rig, "lpop", rig.slot.scratch)
    assert (await distribute(rig)).given == 0
    assert [await rig.elements(lane.pending) for lane in lanes] == [[]] * 3
    assert await rig.processing() == [b"1", b"2"]


@pytest.mark.parametrize("refused", range(3))
async def test_a_deferred_one_is_taken_back(selective_rig: Rig, refused: int) -> None:
    """But not from a lane that had it before."""
    rig = selective_rig
    lanes = list(rig.topology.lanes.values())
    await rig.redis.zadd(rig.keys.retry, {WAITS: 1})
    await rig.redis.zadd(lanes[0].retry, {WAITS: 1})
    await allow(rig, "zadd", "nothing", *(lane.retry for lane in lanes[:refused]))
    done = await distribute(rig)
    assert (done.given, bool(done.refusal)) == (0, True)
    assert [await rig.members(lane.retry) for lane in lanes] == [[WAITS], [], []]
    assert await rig.retry() == [WAITS]


@pytest.mark.parametrize("place", ["retry", "dead", "pending"])
async def test_an_exit_is_undone_where_it_cannot_be_removed(selective_rig: Rig, place: str) -> None:
    """What was pushed is taken back at the end where it was pushed."""
    rig = selective_rig
    await rig.redis.rpush(rig.slot.processing, "cdr")
    await rig.redis.rpush(rig.keys.pending, "1", "2")
    await rig.redis.rpush(rig.keys.dead, "1", "2")
    await allow(rig, "lrem", rig.slot.scratch)
    done = await rig.exchange(Settlement("processing", place, b"cdr", WAITS))  # type: ignore[arg-type]
    assert isinstance(done.results[0], str)
    assert (await rig.pending(), await rig.dead(), await rig.retry()) == ([b"1", b"2"], [b"1", b"2"], [])
    assert await rig.processing() == [b"cdr"]


async def test_a_member_that_cannot_leave_its_set(selective_rig: Rig) -> None:
    """It is not handed out, and stands in one set only."""
    rig = selective_rig
    await rig.redis.zadd(rig.keys.retry, {WAITS: 1})
    await allow(rig, "zrem", rig.slot.scratch, rig.keys.retrying)
    assert (await rig.exchange(deferred=1)).handed_out == []
    assert (await rig.retry(), await rig.retrying()) == ([WAITS], [])


async def test_an_expired_member_that_cannot_leave_its_set(selective_rig: Rig) -> None:
    """It stays where its visibility has ended."""
    rig = selective_rig
    await rig.redis.zadd(rig.keys.retrying, {WAITS: 1})
    await allow(rig, "zrem", rig.slot.scratch, rig.keys.retry)
    assert (await rig.exchange(deferred=1)).handed_out == []
    assert (await rig.retry(), await rig.retrying()) == ([], [WAITS])
