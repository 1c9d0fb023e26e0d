"""Dead letters are read, replayed and dropped without losing one, whatever happens meanwhile."""

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from app.cdr import Cdr, History, webhook_id
from app.config.timings import Timings
from app.dead_letters.letter import dead_letter
from app.dead_letters.store import DeadStore, Letter
from app.demo.embedded import EmbeddedRedis
from app.errors import DamagedLetterError, OperatorRedisError, TransientRedisError
from app.store.client import Link
from app.store.keys import LaneKeys
from app.store.retry_set import read_member
from tests.support.harness import settings_from
from tests.support.proxy import RedisProxy, nth

ANY_BYTES = [b"{}", b"", b"caf\xe9 \xff\x00", "Zoë ☎".encode(), b'"\\\n', b"x" * 2**20]


def letter_of(body: bytes) -> bytes:
    return dead_letter(
        cdr=Cdr(body),
        endpoint="webhook",
        source="cdr",
        reason="rejected",
        status=400,
        answer=b"no such account",
        history=History(attempts=1),
    )


async def replayed(client: Redis, keys: LaneKeys) -> list[bytes]:
    """Return the CDRs in the retry set; each is marked as replayed, without a history, and due."""
    members: list[Any] = await client.zrangebyscore(keys.retry, "-inf", await now_ms(client))
    assert len(members) == await client.zcard(keys.retry)
    read = [read_member(member) for member in members]
    assert {history for history, _ in read} <= {History(replayed=True)}
    return [body for _, body in read]


async def now_ms(client: Redis) -> int:
    seconds, microseconds = await client.time()
    return seconds * 1000 + microseconds // 1000


@pytest.fixture
def keys(integrator: str, source: str) -> LaneKeys:
    return LaneKeys(integrator, source)


@asynccontextmanager
async def a_store(
    variables: dict[str, str], keys: LaneKeys, timings: Timings | None = None
) -> AsyncIterator[DeadStore]:
    link = Link(settings_from(variables).sources[0], "test", timings)
    try:
        yield DeadStore(link, keys)
    finally:
        await link.aclose()


@pytest.fixture
async def store(variables: dict[str, str], keys: LaneKeys) -> AsyncIterator[DeadStore]:
    async with a_store(variables, keys) as store:
        yield store


async def ids(store: DeadStore) -> list[str]:
    return [letter.id async for letter in store.letters()]


# --- what a letter is


@pytest.mark.parametrize("body", ANY_BYTES, ids=range(len(ANY_BYTES)))
def test_a_letter_has_the_exact_bytes(body: bytes) -> None:
    """Also where they had to be base64."""
    letter = Letter.read(letter_of(body))
    assert (letter.cdr, letter.id, letter.damaged) == (body, webhook_id(body), "")
    assert (letter.endpoint, letter.reason, letter.status, letter.attempts) == ("webhook", "rejected", 400, 1)
    assert (letter.source, letter.answer, len(letter.letter)) == ("cdr", "no such account", 32)
    assert letter.first_failed_at == letter.dead_at is not None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"cdr": 1}',
        b'{"cdr_base64": "*"}',
        b'{"cdr": "\\ud800"}',
        b"[" * 100_000,
        b"9" * 9999,
    ],
    ids=range(9),
)
def test_what_is_no_letter_is_damaged_and_has_an_id(raw: bytes) -> None:
    """So it can be listed, shown and dropped; what is said of it quotes nothing."""
    letter = Letter.read(raw)
    assert letter.damaged.startswith("it ")
    assert letter.id.startswith("damaged_")
    assert letter.raw == raw


def test_a_letter_needs_no_more_than_its_cdr() -> None:
    """Whatever else somebody has changed by hand."""
    letter = Letter.read(b'{"cdr": "x", "attempts": "many", "dead_at": "yesterday", "status": [], "id": 7}')
    assert (letter.cdr, letter.id, letter.damaged) == (b"x", webhook_id(b"x"), "")
    assert (letter.attempts, letter.dead_at, letter.status) == (0, None, None)


# --- reading


async def test_letters_are_read_oldest_first_over_many_pages(store: DeadStore, client: Redis, dead: str) -> None:
    bodies = [b"%d" % number for number in range(500)]
    await client.rpush(dead, *map(letter_of, bodies))
    assert await ids(store) == list(map(webhook_id, bodies))


async def test_long_letters_come_in_short_pages(store: DeadStore, client: Redis, dead: str) -> None:
    """Each of them is longer than a page may be."""
    for number in range(5):
        await client.rpush(dead, letter_of(b"%d" % number * 2**21))
    assert len(await ids(store)) == 5


@pytest.mark.parametrize("first", [0, 30, 64, 100], ids=lambda first: f"from {first}")
@pytest.mark.parametrize("removed", [1, 64, 400])
async def test_no_letter_is_passed_over_while_others_remove_some(
    first: int, removed: int, store: DeadStore, client: Redis, dead: str
) -> None:
    """Each removal moves all that are behind it towards the head."""
    raws = [letter_of(b"%d" % number) for number in range(2000)]
    await client.rpush(dead, *raws)
    seen = Counter[bytes]()
    async for letter in store.letters():
        seen[letter.raw] += 1
        if len(seen) == 600:
            for raw in raws[first : first + removed]:
                await client.lrem(dead, 1, raw)  # type: ignore[arg-type]  # redis-py says str, Redis takes bytes
    assert seen.keys() == set(raws)
    assert seen.total() == 2000


async def test_where_all_that_a_reader_knows_is_removed_it_begins_again(
    store: DeadStore, client: Redis, dead: str
) -> None:
    """Some come twice then, and none is passed over."""
    raws = [letter_of(b"%d" % number) for number in range(2000)]
    await client.rpush(dead, *raws)
    seen = Counter[bytes]()
    async for letter in store.letters():
        seen[letter.raw] += 1
        if len(seen) == 1000:
            await client.ltrim(dead, 1100, -1)
            await client.lpush(dead, *reversed(raws[:500]))
    assert seen.keys() >= set(raws[:1000]) | set(raws[1100:])


async def test_what_is_removed_on_the_way_moves_nothing_out_of_sight(
    store: DeadStore, client: Redis, dead: str, keys: LaneKeys
) -> None:
    """A part is replayed, a part is dropped, and the rest stays; each letter is met once."""
    raws = [letter_of(b"%d" % number) for number in range(2000)]
    await client.rpush(dead, *raws)
    acts: list[Callable[[Letter], Any]] = [store.replay, store.drop]
    seen = Counter[bytes]()
    async for letter in store.letters():
        number = int(letter.cdr)
        seen[letter.raw] += 1
        if number // 300 % 3 < 2:
            assert await acts[number // 300 % 3](letter)
    assert seen == Counter(raws)
    kept = [raw for number, raw in enumerate(raws) if number // 300 % 3 == 2]
    assert await client.lrange(dead, 0, -1) == kept
    expected = {b"%d" % number for number in range(2000) if number // 300 % 3 == 0}
    assert Counter(await replayed(client, keys)) == Counter(expected)


async def test_memory_stays_flat_over_20_000_letters(store: DeadStore, client: Redis, dead: str) -> None:
    """A page at a time, whatever there is."""
    for start in range(0, 20_000, 1000):
        await client.rpush(dead, *(letter_of(b"%d" % number + b"x" * 1000) for number in range(start, start + 1000)))
    tracemalloc.start()
    try:
        met = 0
        async for _ in store.letters():
            met += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert met == 20_000
    assert peak < 4 * 2**20


# --- replay and drop


@pytest.mark.parametrize("body", ANY_BYTES, ids=range(len(ANY_BYTES)))
async def test_what_is_replayed_is_what_enigma_wrote(
    body: bytes, store: DeadStore, client: Redis, keys: LaneKeys, source: str
) -> None:
    """It is due now, marked as replayed, and begins anew; calls that wait in pending are left alone."""
    await client.rpush(source, b"waits already")
    await client.rpush(keys.dead, letter_of(body))
    assert [await store.replay(letter) async for letter in store.letters()] == [True]
    assert await replayed(client, keys) == [body]
    assert await client.lrange(source, 0, -1) == [b"waits already"]
    assert not await client.exists(keys.dead)


async def test_twins_are_replayed_as_two(store: DeadStore, client: Redis, keys: LaneKeys) -> None:
    """Each has a letter of its own, and so a member of its own."""
    await client.rpush(keys.dead, letter_of(b"twin"), letter_of(b"twin"))
    assert [await store.replay(letter) async for letter in store.letters()] == [True, True]
    assert await replayed(client, keys) == [b"twin", b"twin"]


async def test_of_equal_letters_one_is_dropped_at_a_time(store: DeadStore, client: Redis, dead: str) -> None:
    """LREM by value takes whichever is first: they are the same."""
    raw = letter_of(b"copied by hand")
    await client.rpush(dead, raw, raw, raw)
    letter = Letter.read(raw)
    assert await store.drop(letter)
    assert await client.lrange(dead, 0, -1) == [raw, raw]
    assert await store.drop(letter)
    assert await store.drop(letter)
    assert not await store.drop(letter)


@pytest.mark.parametrize("place", ["retry", "retrying"])
async def test_of_equal_letters_the_second_stays_while_the_first_waits(
    place: str, store: DeadStore, client: Redis, keys: LaneKeys
) -> None:
    """They have one token between them: a second member could not be told from the first."""
    raw = letter_of(b"copied by hand")
    await client.rpush(keys.dead, raw, raw)
    assert await store.replay(Letter.read(raw))
    if place == "retrying":
        await client.rename(keys.retry, keys.retrying)
    assert not await store.replay(Letter.read(raw))
    assert await client.lrange(keys.dead, 0, -1) == [raw]
    await client.delete(keys.retry, keys.retrying)  # it was delivered
    assert await store.replay(Letter.read(raw))


async def test_a_damaged_letter_is_not_replayed_and_can_be_dropped(
    store: DeadStore, client: Redis, keys: LaneKeys
) -> None:
    await client.rpush(keys.dead, "somebody's note")
    [letter] = [letter async for letter in store.letters()]
    with pytest.raises(DamagedLetterError, match="cannot be replayed, only dropped: it is not the JSON"):
        await store.replay(letter)
    assert await store.drop(letter)
    assert not await client.exists(keys.retry, keys.dead)


@pytest.mark.parametrize("way", ["reply", "command"])
@pytest.mark.parametrize("act", ["replay", "drop"])
async def test_a_lost_reply_takes_no_twin(
    act: str, way: Any, redis_server: EmbeddedRedis, variables: dict[str, str], keys: LaneKeys, client: Redis
) -> None:
    """What is sent again is known by its number, and applied once."""
    raw = letter_of(b"twin")
    await client.rpush(keys.dead, raw, raw)
    async with RedisProxy(redis_server) as proxy:
        async with a_store(variables | {"CDR_REDIS_URL": proxy.url}, keys) as store:
            proxy.loses = nth(way, act, times=3)
            assert await getattr(store, act)(Letter.read(raw))
        assert proxy.lost[way, act] == 3
    assert await client.lrange(keys.dead, 0, -1) == [raw]
    assert await replayed(client, keys) == [b"twin"] * (act == "replay")


@pytest.mark.parametrize("act", ["replay", "drop"])
async def test_a_full_redis_lets_letters_go(
    act: str, own_redis: EmbeddedRedis, own_client: Redis, variables: dict[str, str], keys: LaneKeys
) -> None:
    """Over `maxmemory`, whatever is removed: letters may be what fills it."""
    bodies = [b"%d" % number + b"x" * 500 for number in range(300)]
    await own_client.rpush(keys.dead, *map(letter_of, bodies))
    await own_client.config_set("maxmemory", "1")
    with pytest.raises(OutOfMemoryError):
        await own_client.rpush(keys.dead, "one more")
    async with a_store(variables | {"CDR_REDIS_URL": own_redis.url}, keys) as store:
        async for letter in store.letters():
            assert await getattr(store, act)(letter)
    assert Counter(await replayed(own_client, keys)) == Counter(bodies if act == "replay" else [])
    assert not await own_client.exists(keys.dead)


@pytest.mark.parametrize("place", ["retry", "retrying"])
async def test_a_retry_set_of_another_type_loses_nothing(
    place: str, store: DeadStore, client: Redis, keys: LaneKeys
) -> None:
    """The letter stays, and the error names the key."""
    await client.set(getattr(keys, place), "a string")
    await client.rpush(keys.dead, raw := letter_of(b"cdr"))
    with pytest.raises(OperatorRedisError, match=f"WRONGTYPE {getattr(keys, place)} is a string"):
        await store.replay(Letter.read(raw))
    assert await client.lrange(keys.dead, 0, -1) == [raw]
    await client.delete(getattr(keys, place))
    assert await store.replay(Letter.read(raw))


@pytest.mark.parametrize("command", ["zadd", "zrem", "lrem"])
async def test_a_right_that_is_missing_half_way_loses_nothing(
    command: str, own_redis: EmbeddedRedis, own_client: Redis, variables: dict[str, str], keys: LaneKeys
) -> None:
    """Lua does not roll back: what was pushed is taken back."""
    await own_client.rpush(keys.dead, raw := letter_of(b"cdr"))
    words = ["ACL", "SETUSER", "op", "on", "nopass", "~*", "+@all", f"-{command}"]
    await own_client.execute_command(*words)  # type: ignore[no-untyped-call]
    login = {"CDR_REDIS_URL": own_redis.url, "CDR_REDIS_USERNAME": "op", "CDR_REDIS_PASSWORD": "any"}
    async with a_store(variables | login, keys) as store:
        for _ in range(2):
            with pytest.raises(OperatorRedisError):
                await store.replay(Letter.read(raw))
    assert await own_client.lrange(keys.dead, 0, -1) == [raw]
    assert not await own_client.exists(keys.retry)


async def test_two_that_replay_the_same_move_each_letter_once(
    variables: dict[str, str], keys: LaneKeys, client: Redis
) -> None:
    bodies = [b"%d" % (number // 2) for number in range(600)]
    await client.rpush(keys.dead, *map(letter_of, bodies))

    async def replay_all() -> int:
        async with a_store(variables, keys) as store:
            return sum([await store.replay(letter) async for letter in store.letters()])

    moved = await asyncio.gather(replay_all(), replay_all())
    assert sum(moved) == 600
    assert Counter(await replayed(client, keys)) == Counter(bodies)


async def test_a_redis_that_stays_away_is_an_error_and_not_a_wait_for_ever(
    variables: dict[str, str], keys: LaneKeys
) -> None:
    away = variables | {"CDR_REDIS_URL": "redis://127.0.0.1:1/0"}
    async with a_store(away, keys, Timings(command_patience=0.2)) as store:
        with pytest.raises(TransientRedisError):
            await store.number()
