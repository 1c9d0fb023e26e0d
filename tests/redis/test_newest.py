"""The newest dead letters first, a bounded part at a time, while others add and remove some; and what was replayed."""

import hashlib
import time

from redis.asyncio import Redis

from app.cdr import History
from app.dead_letters.newest import NEWEST, Bounds, Found, Newest
from app.dead_letters.store import Letter
from app.store.client import Link
from app.store.keys import LaneKeys
from app.store.retry_set import member_of
from tests.support.letters import raw_letter


def bounds(found: int = 100, read: int = 1000, seconds: float = 60) -> Bounds:
    return Bounds(found, read, time.monotonic() + seconds)


def bodies(found: Found) -> list[bytes]:
    return [letter.cdr for letter in found.letters]


def any_letter(_: Letter) -> bool:
    return True


async def fill(client: Redis, keys: LaneKeys, *numbers: int) -> None:
    await client.rpush(keys.dead, *[raw_letter(b"%d" % number) for number in numbers])


async def test_the_newest_come_first_and_then_the_rest(link: Link, keys: LaneKeys, client: Redis) -> None:
    """Over several pages of the script."""
    await fill(client, keys, *range(150))
    first = await Newest(link, keys).find(any_letter, NEWEST, bounds(found=70))
    assert bodies(first) == [b"%d" % number for number in range(149, 79, -1)]
    rest = await Newest(link, keys).find(any_letter, first.before, bounds(found=100))
    assert bodies(rest) == [b"%d" % number for number in range(79, -1, -1)]
    assert rest.before == 0


async def test_none_is_passed_over_while_others_come_and_go(link: Link, keys: LaneKeys, client: Redis) -> None:
    """One that dies meanwhile is not among them; one that is removed moves the others."""
    await fill(client, keys, *range(10))
    first = await Newest(link, keys).find(any_letter, NEWEST, bounds(found=3))
    await fill(client, keys, 10)
    await client.lpop(keys.dead, 2)
    rest = await Newest(link, keys).find(any_letter, first.before, bounds())
    assert {b"%d" % number for number in range(2, 7)} <= set(bodies(rest))
    assert b"10" not in bodies(rest)


async def test_a_search_ends_at_its_bounds_and_says_where_it_goes_on(link: Link, keys: LaneKeys, client: Redis) -> None:
    """However long the list is: what is read and how long it takes are bounded, not only what is found."""
    await fill(client, keys, *range(300))
    limited = bounds(read=100)
    found = await Newest(link, keys).find(lambda letter: letter.cdr == b"7", NEWEST, limited)
    assert (found.letters, found.before, limited.read) == ([], 200, 0)
    found = await Newest(link, keys).find(lambda letter: letter.cdr == b"7", found.before, bounds())
    assert bodies(found) == [b"7"]
    late = await Newest(link, keys).find(any_letter, NEWEST, bounds(seconds=-1))
    assert (late.letters, late.before) == ([], NEWEST)


async def test_long_letters_come_one_by_one(link: Link, keys: LaneKeys, client: Redis) -> None:
    """A page has a limit in bytes, or one look would block Redis."""
    await client.rpush(keys.dead, *[raw_letter(bytes([65 + each]) * 700_000) for each in range(3)])
    page = await link.script("newest_letters")(keys=[keys.dead], args=[-1, 64, 2**20])
    assert (page[0], page[1], len(page)) == (3, 2, 3)
    assert len(bodies(await Newest(link, keys).find(any_letter, NEWEST, bounds()))) == 3


async def test_a_list_that_is_empty_or_none_has_no_letters(link: Link, keys: LaneKeys, client: Redis) -> None:
    assert (await Newest(link, keys).find(any_letter, NEWEST, bounds())).before == 0
    await client.set(keys.dead, "somebody's")
    assert (await Newest(link, keys).find(any_letter, NEWEST, bounds())).letters == []


async def test_replayed_ones_that_wait_are_found(link: Link, keys: LaneKeys, client: Redis) -> None:
    """In both sets, by the SHA-1 of the CDR; nothing else is, whatever it looks like."""
    waiting = member_of("a-1", History(replayed=True), b'{"one": 1}\nand a line')
    in_hand = member_of("a-2", History(replayed=True, attempts=3), b"\xff two")
    others = [member_of("a-3", History(), b"never replayed 1\n"), b"no header 1\nbody", b"cdr1 without an end 1"]
    await client.zadd(keys.retry, {waiting: 1.0, **dict.fromkeys(others, 2.0)})
    await client.zadd(keys.retrying, {in_hand: 1.0})
    script = link.script("replayed")
    found = await script(keys=[keys.retry, keys.retrying], args=[100, 10_000])
    wanted = [
        hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
        for body in (b"\xff two", b'{"one": 1}\nand a line')
    ]
    assert found == [1, *wanted]
    assert (await script(keys=[keys.retry, keys.retrying], args=[2, 10_000]))[0] == 0
    assert (await script(keys=[keys.retry, keys.retrying], args=[100, 50]))[0] == 0
