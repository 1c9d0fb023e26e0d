"""The scripts behind what a person does: replay, drop, inject, reroute; and those that only look."""

import hashlib
import re
from importlib.resources import files
from io import BytesIO
from typing import Any

import pytest

from app.cdr import Cdr, History
from app.cli.inject import Injection
from app.cli.reroute import Reroute
from app.dead_letters.letter import dead_letter
from app.dead_letters.store import DeadStore, Letter
from app.demo.embedded import EmbeddedRedis
from app.errors import CommandError, OperatorRedisError, TransientRedisError
from app.store.keys import LaneKeys
from app.store.preflight import refusals
from app.store.retry_set import member_of, read_member
from tests.redis.conftest import Deny, OpenRig
from tests.redis.rig import Rig

WAITED = History(attempts=3, strikes=1, first_failed_at=5, last_failed_at=7, last_result="http_5xx")


def letter_of(body: bytes) -> bytes:
    return dead_letter(
        cdr=Cdr(body), endpoint="webhook", source="cdr", reason="rejected", status=422, answer=b"", history=WAITED
    )


def replayed_member(raw: bytes) -> bytes:
    letter = Letter.read(raw)
    return member_of(letter.token, History(replayed=True), letter.cdr)


async def put(rig: Rig, *bodies: bytes) -> list[bytes]:
    letters = [letter_of(body) for body in bodies]
    await rig.redis.rpush(rig.keys.dead, *letters)
    return letters


async def once(rig: Rig, name: str, keys: list[str], *args: bytes | str | int, number: int = 1) -> Any:
    """Send an operator's script once, as the operation of that number."""
    script = rig.link.script("common", "once", name)
    operation = rig.keys.operation("test")
    return await rig.link.call(name, lambda: script(keys=[operation, *keys], args=[number, 60_000, *args]))


def replay_keys(rig: Rig) -> list[str]:
    return [rig.keys.dead, rig.keys.retry, rig.keys.retrying, f"{rig.keys.dead}:scratch"]


async def replay(rig: Rig, raw: bytes, number: int = 1) -> Any:
    return await once(rig, "replay", replay_keys(rig), raw, replayed_member(raw), number=number)


async def drop(rig: Rig, raw: bytes, number: int = 1) -> Any:
    return await once(rig, "drop", [rig.keys.dead], raw, number=number)


async def test_replay(rig: Rig) -> None:
    """The exact bytes, due now, marked as replayed and without history; the letter is gone."""
    [first, second] = await put(rig, b"\xff one", b"two")
    assert await DeadStore(rig.link, rig.keys).replay(Letter.read(first))
    [handed] = (await rig.exchange(deferred=9)).handed_out
    assert read_member(handed) == (History(replayed=True), b"\xff one")
    assert await rig.dead() == [second]


async def test_replay_of_a_letter_that_is_gone(rig: Rig) -> None:
    """Nothing happens."""
    assert await replay(rig, letter_of(b"gone")) == 0
    assert await rig.retry() == []


async def test_replay_sent_again(rig: Rig) -> None:
    """Its reply was lost; a letter that is the same to the byte stays."""
    [letter] = await put(rig, b"x")
    await rig.redis.rpush(rig.keys.dead, letter)
    assert await replay(rig, letter) == 1
    assert await replay(rig, letter) == 1
    assert (len(await rig.dead()), len(await rig.retry())) == (1, 1)


@pytest.mark.parametrize("place", ["retry", "retrying"])
async def test_letters_copied_by_hand(rig: Rig, place: str) -> None:
    """A second one waits while the member of the first does: nothing is merged; sent again it says so again."""
    [letter] = await put(rig, b"x")
    key = {"retry": rig.keys.retry, "retrying": rig.keys.retrying}[place]
    await rig.redis.zadd(key, {replayed_member(letter): await rig.now() + 60_000})
    assert await replay(rig, letter) == 0
    assert await replay(rig, letter) == 0
    assert (await rig.dead(), len(await rig.retry() + await rig.retrying())) == ([letter], 1)


async def test_replay_of_twins(rig: Rig) -> None:
    """Each letter has an id of its own, so that both arrive."""
    letters = await put(rig, b"twin", b"twin")
    store = DeadStore(rig.link, rig.keys)
    assert [await store.replay(Letter.read(letter)) for letter in letters] == [True, True]
    assert len(await rig.retry()) == 2


@pytest.mark.parametrize("place", ["dead", "retry", "retrying"])
async def test_replay_with_a_wrong_type(rig: Rig, place: str) -> None:
    """Told with the key's name, and nothing is done."""
    [letter] = await put(rig, b"x") if place != "dead" else [letter_of(b"x")]
    key = {"dead": rig.keys.dead, "retry": rig.keys.retry, "retrying": rig.keys.retrying}[place]
    await rig.redis.set(key, "of somebody")
    with pytest.raises(OperatorRedisError, match=f"WRONGTYPE {key}"):
        await replay(rig, letter)
    assert place == "dead" or await rig.dead() == [letter]


@pytest.mark.parametrize("command", ["lrem", "zrem", "zadd"])
async def test_replay_without_a_right(limited_rig: Rig, deny: Deny, command: str) -> None:
    """The letter stays, no member is left behind, and the same operation may be sent again."""
    rig = limited_rig
    [letter] = await put(rig, b"x")
    await deny(command)
    for _ in range(2):
        with pytest.raises(OperatorRedisError):
            await replay(rig, letter)
    assert (await rig.dead(), await rig.retry()) == ([letter], [])


async def test_replay_on_a_full_redis(own_redis: EmbeddedRedis, open_rig: OpenRig) -> None:
    """Replaying frees a letter."""
    rig = await open_rig(own_redis.url)
    [letter] = await put(rig, b"x")
    await rig.redis.config_set("maxmemory", "1")
    assert await replay(rig, letter) == 1


async def test_drop(rig: Rig) -> None:
    """Once, also when it is sent again: of letters that are the same to the byte one stays."""
    [letter] = await put(rig, b"x")
    await rig.redis.rpush(rig.keys.dead, letter)
    assert [await drop(rig, letter) for _ in range(2)] == [1, 1]
    assert await rig.dead() == [letter]
    assert [await drop(rig, letter, number) for number in (2, 3)] == [1, 0]


async def test_drop_is_refused(limited_rig: Rig, deny: Deny) -> None:
    """The letter stays, and the same operation may be sent again; a wrong type is told."""
    rig = limited_rig
    [letter] = await put(rig, b"x")
    await deny("lrem")
    for _ in range(2):
        with pytest.raises(OperatorRedisError):
            await drop(rig, letter)
    assert await rig.dead() == [letter]
    await rig.redis.delete(rig.keys.dead)
    await rig.redis.set(rig.keys.dead, "of somebody")
    with pytest.raises(OperatorRedisError, match="WRONGTYPE"):
        await drop(rig, letter)


async def inject_page(rig: Rig, number: int, *cdrs: bytes) -> Any:
    script = rig.link.script("inject")
    keys = [rig.keys.operation("test"), rig.keys.pending]
    return await rig.link.call("inject", lambda: script(keys=keys, args=[number, 60_000, "RPUSH", *cdrs]))


async def test_a_late_page_is_not_injected_twice(rig: Rig) -> None:
    """It arrives behind its own repetition, and behind the page after it."""
    for number, cdr in [(1, b"1"), (1, b"1"), (2, b"2"), (1, b"1"), (2, b"2"), (3, b"3")]:
        assert await inject_page(rig, number, cdr) == 1
    assert await rig.pending() == [b"1", b"2", b"3"]


async def test_a_refused_page_may_be_injected_again(rig: Rig) -> None:
    """Nothing was pushed: its number is forgotten, and that of the page before is not."""
    await inject_page(rig, 1, b"1")
    await rig.redis.rename(rig.keys.pending, f"{rig.keys.pending}-aside")
    await rig.redis.set(rig.keys.pending, "of somebody")
    with pytest.raises(OperatorRedisError):
        await inject_page(rig, 2, b"2")
    await rig.redis.rename(f"{rig.keys.pending}-aside", rig.keys.pending)
    await inject_page(rig, 1, b"1")
    await inject_page(rig, 2, b"2")
    assert await rig.pending() == [b"1", b"2"]


async def test_a_full_redis_takes_no_page(own_redis: EmbeddedRedis, open_rig: OpenRig) -> None:
    """It would add what another script has to drain."""
    rig = await open_rig(own_redis.url)
    await rig.redis.config_set("maxmemory", "1")
    with pytest.raises(TransientRedisError):
        await inject_page(rig, 1, b"1")
    assert await rig.pending() == []


@pytest.mark.parametrize(("oldest", "pending"), [("head", [b"{}", b"[]"]), ("tail", [b"[]", b"{}"])])
async def test_injects_at_the_newest_end(open_rig: OpenRig, oldest: str, pending: list[bytes]) -> None:
    """The oldest are claimed first all the same."""
    rig = await open_rig(source_oldest=oldest)
    injection = Injection(rig.link)
    file = BytesIO(b'{}\n{"a": 1}\n')
    await injection.run(file, 1)
    assert await rig.pending() == [b'{"a": 1}' if body == b"[]" else body for body in pending]


def old_lane(rig: Rig) -> LaneKeys:
    return rig.topology.named("old")


async def reroute(rig: Rig) -> None:
    await Reroute(rig.link, "old", "webhook").run()


async def test_reroute_of_all_places(rig: Rig) -> None:
    """Due now, marked as replayed, twins stay two, and what is known of a CDR is kept; letters go to the letters."""
    old, later = old_lane(rig), await rig.now() + 60_000
    await rig.redis.rpush(old.pending, "twin", "twin")
    await rig.redis.rpush(old.slot(3).processing, "claimed")
    await rig.redis.zadd(old.retry, {member_of("t-1", WAITED, b"deferred"): later, b"odd": later})
    await rig.redis.zadd(old.retrying, {member_of("t-2", WAITED, b"in hand"): later})
    await rig.redis.rpush(old.dead, "letter 1", "letter 2")
    await reroute(rig)
    found = sorted((body, history.attempts, history.replayed) for history, body in map(read_member, await rig.retry()))
    expected = [(b"claimed", 0), (b"deferred", 3), (b"in hand", 3), (b"odd", 0), (b"twin", 0), (b"twin", 0)]
    assert found == [(body, attempts, True) for body, attempts in expected]
    assert len((await rig.exchange(deferred=9)).handed_out) == 6
    assert await rig.dead() == [b"letter 1", b"letter 2"]
    assert not await rig.redis.keys(f"{rig.settings.integrator}:old:*")


async def test_reroute_of_what_is_in_use(rig: Rig) -> None:
    """A live process still has the endpoint."""
    await rig.redis.rpush(old_lane(rig).pending, "1")
    owner = rig.keys.slot(9).owner
    await rig.redis.set(owner, '{"fans_out": true, "endpoints": {"old": "x"}, "host": "h"}', px=60_000)
    with pytest.raises(CommandError, match="live process on h"):
        await reroute(rig)
    assert await rig.elements(old_lane(rig).pending) == [b"1"]
    await rig.redis.delete(owner)


@pytest.mark.parametrize("value", ["x", '{"fans_out": true, "endpoints": 5}', '{"endpoints": {"old": "x"}}', "[]", "7"])
async def test_reroute_with_odd_owners(rig: Rig, value: str) -> None:
    """None of them has the endpoint; one that is no string is nobody."""
    await rig.redis.rpush(old_lane(rig).pending, "1")
    await rig.redis.set(rig.keys.slot(9).owner, value, px=60_000)
    await rig.redis.rpush(rig.keys.slot(8).owner, "of somebody")
    await reroute(rig)
    assert len(await rig.retry()) == 1
    await rig.redis.delete(rig.keys.slot(9).owner, rig.keys.slot(8).owner)


async def test_reroute_to_a_wrong_type(rig: Rig) -> None:
    """Nothing leaves its place."""
    await rig.redis.rpush(old_lane(rig).pending, "1")
    await rig.redis.set(rig.keys.retry, "of somebody")
    with pytest.raises(OperatorRedisError):
        await reroute(rig)
    assert await rig.elements(old_lane(rig).pending) == [b"1"]


@pytest.mark.parametrize(("command", "place"), [("lpop", "pending"), ("zrem", "retry"), ("zadd", "pending")])
async def test_reroute_without_a_right(limited_rig: Rig, deny: Deny, command: str, place: str) -> None:
    """Nothing is multiplied, however often it is tried: but for what cannot be taken back."""
    rig, old = limited_rig, old_lane(limited_rig)
    await (rig.redis.rpush(old.pending, "1") if place == "pending" else rig.redis.zadd(old.retry, {"1": 1}))
    await deny(command)
    for _ in range(3):
        with pytest.raises(OperatorRedisError):
            await reroute(rig)
    assert await rig.retry() == []


async def test_sample(rig: Rig) -> None:
    """Lengths, and of the oldest CDR no more than its hash; a wrong type counts as nothing."""
    await rig.redis.rpush(rig.keys.pending, "oldest", "newest")
    await rig.redis.rpush(rig.slot.processing, "1")
    await rig.redis.set(rig.keys.dead, "of somebody")
    await rig.redis.zadd(rig.keys.retry, {"1": 1, "2": 2, "3": 3})
    lane = rig.keys
    keys = [lane.pending, rig.slot.processing, lane.dead, lane.retry, lane.retrying]
    *lengths, oldest, now, due = await rig.link.script("sample")(keys=keys, args=[0])
    assert lengths == [2, 1, 0, 3, 0]
    assert oldest.decode() == hashlib.sha1(b"oldest", usedforsecurity=False).hexdigest()
    assert (now <= await rig.now(), due) == (True, b"1")


async def test_rehearsal(rig: Rig) -> None:
    """All rights are there, and nothing is left of the trial."""
    scratch = f"{rig.topology.scratch}:test"
    assert await refusals(rig.link, scratch, rig.link.call) == []
    assert not await rig.redis.keys(f"{scratch}*")


@pytest.mark.parametrize(
    "command",
    [
        *(
            "time",
            "pexpire",
            "set",
            "get",
            "pttl",
            "type",
            "rpush",
            "lpush",
            "lmove",
            "lpos",
            "lrange",
            "lindex",
            "lset",
            "llen",
        ),
        *("rpop", "lpop", "lrem", "hset", "hget", "hgetall", "hlen", "hdel", "zadd", "zscore", "zcard", "zrange"),
        *("zrangebyscore", "zrevrangebyscore", "zrem", "del", "blmove"),
    ],
)
async def test_rehearsal_names_what_is_missing(limited_rig: Rig, deny: Deny, command: str) -> None:
    """Each command that a script uses."""
    await deny(command)
    refused = await refusals(limited_rig.link, f"{limited_rig.topology.scratch}:test", limited_rig.link.call)
    assert [refusal.split(":")[0] for refusal in refused] == [command.upper()]


def test_every_command_is_rehearsed() -> None:
    """A script that calls another one would be refused at run time."""
    scripts = files("app.store").joinpath("scripts")
    texts = {path.name: path.read_text() for path in scripts.iterdir() if path.name.endswith(".lua")}
    rehearsed = set(re.findall(r"try\('([A-Z]+)'", texts.pop("rehearse.lua")))
    called = {name for text in texts.values() for name in re.findall(r"p?call\(\s*'([A-Z]+)'", text)}
    assert called <= rehearsed
