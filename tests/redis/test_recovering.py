"""Pages of a processing list, adoption, and the look at all slots."""

import json

import pytest

from app.demo.embedded import EmbeddedRedis
from app.errors import OperatorRedisError
from app.store.budget import Budget
from app.store.channel import Word
from app.store.keys import Slot
from app.store.queue import ADOPT
from tests.redis.conftest import Deny, OpenRig
from tests.redis.rig import MIB, Rig
from tests.support.harness import eventually


def orphan(rig: Rig) -> Slot:
    return rig.keys.slot(7)


async def adopt(rig: Rig, owner: bytes = b"", most: int = 100, most_bytes: int = MIB) -> int:
    queue = rig.queue()
    return await queue.adopt(queue.channel(), orphan(rig), owner, most, most_bytes)


async def page(rig: Rig, most: int, most_bytes: int = MIB) -> list[bytes]:
    queue = rig.queue()
    return await queue.page(queue.channel(), most, Budget(most_bytes))


async def survey(rig: Rig) -> dict[int, bytes]:
    return {slot.number: owner for slot, owner in (await rig.lease.owners()).items() if owner}


async def test_a_page_is_the_head_of_the_list(rig: Rig) -> None:
    """Oldest first, and no more than was asked for."""
    await rig.redis.rpush(rig.slot.processing, *range(100))
    assert await page(rig, 40) == [str(number).encode() for number in range(40)]
    assert len(await page(rig, 1000)) == 100
    assert await page(rig, 0) == []


async def test_a_page_of_nothing(rig: Rig) -> None:
    """The list is not there."""
    assert await page(rig, 10) == []


async def test_a_page_has_no_more_than_its_bytes(rig: Rig) -> None:
    """CDRs of 1 MiB come one by one: more would block Redis; one larger than all comes all the same."""
    await rig.redis.rpush(rig.slot.processing, *(b"%d" % number * MIB for number in range(4)))
    assert [len(cdr) for cdr in await page(rig, 10)] == [MIB]
    assert [len(cdr) for cdr in await page(rig, 10, 1)] == [MIB]
    assert len(await page(rig, 10, 3 * MIB)) == 3


async def test_adopts_a_page_to_the_end_of_ours(rig: Rig) -> None:
    """In their order, behind what we have."""
    await rig.redis.rpush(rig.slot.processing, "ours")
    await rig.redis.rpush(orphan(rig).processing, "1", "2", "3")
    assert await adopt(rig, most=2) == 2
    assert (await rig.processing(), await rig.elements(orphan(rig).processing)) == ([b"ours", b"1", b"2"], [b"3"])


async def test_adopts_no_more_than_the_bytes(rig: Rig) -> None:
    """The CDR that fills them is the last."""
    await rig.redis.rpush(orphan(rig).processing, b"x" * 100, "2")
    assert await adopt(rig, most_bytes=50) == 1


async def test_adopts_nothing_from_a_new_owner(rig: Rig) -> None:
    """Somebody has taken that slot since it was seen."""
    await rig.redis.rpush(orphan(rig).processing, "theirs")
    await rig.redis.set(orphan(rig).owner, "somebody")
    assert await adopt(rig) == 0
    assert await adopt(rig, b"somebody else") == 0
    assert await rig.elements(orphan(rig).processing) == [b"theirs"]


async def test_adopts_from_an_owner_without_that_lane(rig: Rig) -> None:
    """While it is the one that was seen."""
    await rig.redis.rpush(orphan(rig).processing, "left over")
    await rig.redis.set(orphan(rig).owner, "has no such lane")
    assert await adopt(rig, b"has no such lane") == 1


async def test_adopts_from_a_slot_whose_owner_is_no_string(rig: Rig) -> None:
    """Nobody can own a slot by that key: what is in its list is an orphan."""
    await rig.redis.rpush(orphan(rig).owner, "of somebody")
    await rig.redis.rpush(orphan(rig).processing, "left over")
    assert await adopt(rig) == 1


@pytest.mark.parametrize("whose", ["ours", "theirs"])
async def test_adopts_nothing_of_a_wrong_type(rig: Rig, whose: str) -> None:
    """Told with the name of the key."""
    key = {"ours": rig.slot.processing, "theirs": orphan(rig).processing}[whose]
    await rig.redis.set(key, "of somebody")
    queue = rig.queue()
    channel = queue.channel()
    keys = [rig.slot.owner, rig.slot.ops, rig.slot.processing, orphan(rig).owner, orphan(rig).processing]
    args: list[Word] = [rig.lease.value, rig.lease.lease_ms, 1, 1, 10, MIB, ""]
    with pytest.raises(OperatorRedisError, match=f"WRONGTYPE {key}"):
        await rig.link.call("adopt", lambda: channel.evaluate(ADOPT, keys, args))


async def test_adopts_on_a_full_redis(own_redis: EmbeddedRedis, open_rig: OpenRig) -> None:
    """A move adds no memory."""
    rig = await open_rig(own_redis.url)
    await rig.redis.rpush(orphan(rig).processing, "1")
    await rig.redis.config_set("maxmemory", "1")
    assert await adopt(rig) == 1


async def test_adoption_sent_again_does_nothing(rig: Rig) -> None:
    """Its reply was lost, and a second page has come to that list since."""
    await rig.redis.rpush(orphan(rig).processing, "1")
    channel = rig.recording()
    await rig.queue().adopt(channel, orphan(rig), b"", 100, MIB)
    await rig.redis.rpush(orphan(rig).processing, "2")
    assert await channel.ask(*channel.sent[-1]) is None
    assert await rig.processing() == [b"1"]


async def test_survey_reads_every_slot(rig: Rig) -> None:
    """Owners and lengths; -1 for what is no list, and nothing for an owner that is no string."""
    await rig.redis.rpush(rig.keys.slot(2).processing, "1", "2")
    await rig.redis.set(rig.keys.slot(3).processing, "of somebody")
    await rig.redis.rpush(rig.keys.slot(4).owner, "of somebody")
    script = rig.link.script("survey")
    slots = [rig.keys.slot(number) for number in (1, 2, 3, 4)]
    reply = await script(keys=[key for slot in slots for key in (slot.owner, slot.processing)], args=[1000])
    assert reply == [rig.lease.value, 0, b"", 2, b"", -1, b"", 0]


@pytest.mark.parametrize("value", ["old", '{"lease_ms": 300}', '{"lease_ms": "no"}', "[" * 500, '{"endpoints": 5}'])
async def test_an_owner_without_a_ttl_is_cut(rig: Rig, value: str) -> None:
    """It would keep its slot for ever, whatever its value is: it is cut to what it says, or to our lease."""
    slot = rig.keys.slot(5)
    await rig.redis.set(slot.owner, value)
    assert await survey(rig) == {1: rig.lease.value, 5: value.encode()}
    assert 0 < await rig.redis.pttl(slot.owner) <= (300 if "300" in value else rig.lease.lease_ms)


async def test_an_owner_with_a_longer_ttl_is_cut(rig: Rig) -> None:
    """To what its value says: it was set by a Redis that was restored, or by hand."""
    slot = rig.keys.slot(5)
    await rig.redis.set(slot.owner, json.dumps({"lease_ms": 5000}), px=9_000_000)
    await survey(rig)
    assert 1000 < await rig.redis.pttl(slot.owner) <= 5000
    await survey(rig)
    assert await rig.redis.pttl(slot.owner) > 1000


async def test_a_cut_owner_loses_its_slot(rig: Rig) -> None:
    """Looking again does not give it a new lease."""
    slot = rig.keys.slot(5)
    await rig.redis.set(slot.owner, '{"lease_ms": 200}')

    async def is_free() -> bool:
        return slot.number not in await survey(rig)

    await eventually(is_free)


async def test_missing_right_to_cut(limited_rig: Rig, deny: Deny) -> None:
    """The survey answers all the same."""
    await limited_rig.redis.set(limited_rig.keys.slot(5).owner, "x")
    await deny("pexpire")
    assert 5 in await survey(limited_rig)
