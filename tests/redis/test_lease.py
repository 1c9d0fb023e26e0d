"""One slot, one owner: taking, keeping, losing and giving back its lease."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from structlog.typing import EventDict

from app.demo.embedded import EmbeddedRedis
from app.errors import ConfigurationError, FencedError
from app.store.owner import Owner
from tests.redis.conftest import OpenRig
from tests.redis.rig import Rig, end_trust
from tests.support.harness import eventually


async def take(rig: Rig, number: int = 1) -> int:
    slot = rig.keys.slot(number)
    script = rig.link.script("take")
    return int(await script(keys=[slot.owner, slot.ops], args=[rig.lease.value, rig.lease.lease_ms]))


def names(said: list[EventDict]) -> list[str]:
    return [event["event"] for event in said]


async def test_takes_the_lowest_free_slot(open_rig: OpenRig) -> None:
    """Two processes never have the same one."""
    first, second = await open_rig(), await open_rig()
    assert (first.slot.number, second.slot.number) == (1, 2)
    await first.lease.release()
    assert (await open_rig()).slot.number == 1


async def test_taken_from_an_unknown(rig: Rig) -> None:
    """Redis knew of no owner before: 3; a TTL is the lease."""
    assert await take(rig, 5) == 3
    assert 0 < await rig.redis.pttl(rig.keys.slot(5).owner) <= rig.lease.lease_ms


async def test_taken_already(rig: Rig) -> None:
    """The reply to the first try was lost: 1, and the lease is as long as before."""
    await rig.redis.pexpire(rig.slot.owner, 100)
    assert await take(rig) == 1
    assert await rig.redis.pttl(rig.slot.owner) > 1000


async def test_taken_again(rig: Rig) -> None:
    """Nobody had it in between: 2, and the sequence numbers stay, for replies that are still on their way."""
    await rig.exchange()
    await rig.redis.delete(rig.slot.owner)
    applied = await rig.redis.hgetall(rig.slot.ops)
    assert await take(rig) == 2
    assert await rig.redis.hgetall(rig.slot.ops) == applied


async def test_taken_after_somebody_else(rig: Rig) -> None:
    """1, and nothing is left of that one's sequence numbers."""
    slot = rig.keys.slot(5)
    await rig.redis.hset(slot.ops, mapping={"owner": "another", "7": "1e300"})
    assert await take(rig, 5) == 1
    assert await rig.redis.hgetall(slot.ops) == {b"owner": rig.lease.value}


@pytest.mark.parametrize("kind", ["string", "list"])
async def test_not_taken(rig: Rig, kind: str) -> None:
    """It is somebody's, or of a type that no owner has: 0, and it is left alone."""
    slot = rig.keys.slot(5)
    await (rig.redis.set(slot.owner, "x") if kind == "string" else rig.redis.rpush(slot.owner, "x"))
    assert await take(rig, 5) == 0
    assert await rig.redis.type(slot.owner) == kind.encode()


async def test_ops_of_the_wrong_type(rig: Rig) -> None:
    """They are emptied with the rest."""
    await rig.redis.set(rig.keys.slot(5).ops, "of somebody")
    assert await take(rig, 5) == 1


async def test_taken_on_a_full_redis(own_redis: EmbeddedRedis, open_rig: OpenRig) -> None:
    """Nothing would drain it otherwise; but a first owner of all adds a key, and so does need memory."""
    rig = await open_rig(own_redis.url)
    await rig.redis.config_set("maxmemory", "1")
    assert await take(rig, 5) == 3


async def test_renewed_on_a_full_redis(own_redis: EmbeddedRedis, open_rig: OpenRig) -> None:
    """A renewal writes no value."""
    rig = await open_rig(own_redis.url)
    await rig.redis.config_set("maxmemory", "1")
    assert await rig.lease.renew(rig.slot)


async def test_renewed(rig: Rig) -> None:
    """The TTL is the whole lease again, and it is trusted from when the renewal was sent."""
    await end_trust(rig)
    await rig.redis.pexpire(rig.slot.owner, 100)
    assert await rig.lease.renew(rig.slot)
    assert await rig.redis.pttl(rig.slot.owner) > 1000
    assert rig.lease.holds()


Renew = Callable[[Rig], Awaitable[object]]

RENEWALS: dict[str, Renew] = {
    "renewed": lambda rig: rig.lease.renew(rig.slot),
    "taken again": lambda rig: rig.lease.retake(rig.slot),
}


@pytest.mark.parametrize("how", RENEWALS)
async def test_trusted_from_the_send_on(how: str, open_rig: OpenRig) -> None:
    """An answer that is late says nothing about the time since it was asked for: Redis may have counted from there."""
    rig = await open_rig(lease="0.5")
    await end_trust(rig)
    if how == "taken again":
        await rig.redis.delete(rig.slot.owner)
    # when: Redis is busy for longer than the lease is trusted
    await rig.redis.client_pause(450)
    await RENEWALS[how](rig)
    # then: the lease is ours, and not trusted
    assert await rig.redis.get(rig.slot.owner) == rig.lease.value
    assert not rig.lease.holds()


async def test_not_renewed_for_another_owner(rig: Rig) -> None:
    """The slot is somebody else's by now: their lease is left alone, and ours is not trusted."""
    await rig.redis.set(rig.slot.owner, "another", px=500)
    assert not await rig.lease.renew(rig.slot)
    assert await rig.redis.pttl(rig.slot.owner) <= 500
    assert not rig.lease.holds()


async def test_fenced_by_another_owner(rig: Rig) -> None:
    """Frozen past the lease, and another process has taken the slot: forget what it holds."""
    await rig.redis.set(rig.slot.owner, "another", px=60_000)
    with pytest.raises(FencedError):
        await rig.lease.keep()
    await rig.redis.delete(rig.slot.owner)


async def test_fenced_by_an_owner_that_has_left(rig: Rig, said: list[EventDict]) -> None:
    """Another had the slot in between and gave it back: what our list held, it may have adopted or delivered."""
    await rig.redis.delete(rig.slot.owner)
    await rig.redis.hset(rig.slot.ops, "owner", "another")
    with pytest.raises(FencedError):
        await rig.lease.keep()
    assert "slot.lost" in names(said)


async def test_kept_where_nobody_else_came(rig: Rig, said: list[EventDict]) -> None:
    """Redis was away for longer than the lease: taken again, told, and held."""
    await end_trust(rig)
    await rig.redis.delete(rig.slot.owner)
    keeping = asyncio.create_task(rig.lease.keep())
    await eventually(rig.lease.holds)
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    assert names(said) == ["lease.expired"]


async def test_renewed_at_once_when_in_doubt(rig: Rig) -> None:
    """A script was refused as fenced: whether the lease is gone is asked now."""
    keeping = asyncio.create_task(rig.lease.keep())
    await eventually(lambda: not rig.link.lease_doubted.is_set())
    await rig.redis.set(rig.slot.owner, "another", px=60_000)
    rig.link.lease_doubted.set()
    with pytest.raises(FencedError):
        await keeping
    await rig.redis.delete(rig.slot.owner)


async def test_listeners_are_told_when_it_is_held_again(rig: Rig) -> None:
    """Workers wait with CDRs in the inbox: nobody else would wake them."""
    woken: list[bool] = []
    rig.lease.listen(lambda: woken.append(rig.lease.holds()))
    await rig.lease.renew(rig.slot)
    assert woken == []
    await end_trust(rig)
    await rig.lease.renew(rig.slot)
    assert woken == [True]


async def test_redis_that_came_back_empty(rig: Rig, said: list[EventDict]) -> None:
    """It knows of no owner before: told once, and the slot is kept."""
    await rig.exchange()
    await rig.redis.delete(rig.slot.owner, rig.slot.ops)
    assert not await rig.lease.renew(rig.slot)
    await rig.lease.retake(rig.slot)
    assert await rig.lease.renew(rig.slot)
    assert names(said) == ["redis.emptied"]
    assert rig.lease.holds()


async def test_redis_that_came_back_older(rig: Rig, said: list[EventDict]) -> None:
    """The owner is ours, but it has forgotten the last operation that it answered."""
    await rig.exchange()
    [channel] = (await rig.redis.hgetall(rig.slot.ops)).keys() - {b"owner"}
    await rig.redis.hset(rig.slot.ops, channel, 0)
    assert await rig.lease.renew(rig.slot)
    assert await rig.lease.renew(rig.slot)
    assert names(said) == ["redis.emptied"]


async def test_a_new_slot_is_no_empty_redis(rig: Rig, said: list[EventDict]) -> None:
    """Fenced out of one slot, a process remembers no operation of that one: its new owner has forgotten them."""
    await rig.exchange()
    lost = rig.slot
    await rig.redis.set(lost.owner, "another", px=60_000)
    await rig.redis.delete(lost.ops)
    await rig.lease.take()
    assert rig.slot.number == 2
    assert await rig.lease.renew(rig.slot)
    assert "redis.emptied" not in names(said)
    await rig.redis.delete(lost.owner)


async def test_released(rig: Rig) -> None:
    """Nobody has to wait for its end."""
    slot = rig.slot
    await rig.lease.release()
    assert not await rig.redis.exists(slot.owner)
    assert not rig.lease.holds()


async def test_release_leaves_another_owner_alone(rig: Rig) -> None:
    """The slot was lost before."""
    slot = rig.slot
    await rig.redis.set(slot.owner, "another", px=60_000)
    await rig.lease.release()
    assert await rig.redis.get(slot.owner) == b"another"


async def test_another_source_is_refused(open_rig: OpenRig) -> None:
    """Two installations under one name would adopt each other's CDRs."""
    await open_rig()
    with pytest.raises(ConfigurationError, match="CDR_INTEGRATOR"):
        await open_rig(source_key="another-source")


async def test_the_owner_says_what_it_has(open_rig: OpenRig) -> None:
    """Its source, its endpoints with a fingerprint of each URL, and whether it fans out; never a URL."""
    rig = await open_rig(endpoints=("a", "b"))
    value: Any = await rig.redis.get(rig.slot.owner)
    owner = Owner.read(value)
    assert (owner.names, owner.fans_out, owner.source) == (["a", "b"], True, rig.settings.source_key)
    assert b"127.0.0.1:9" not in value
