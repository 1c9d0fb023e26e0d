"""Each exit of a CDR, and each way of claiming one, with all that can go wrong half-way."""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.cdr import NEVER_FAILED, History
from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis
from app.store.channel import Word
from app.store.exchange import Settlement, Wanted
from app.store.queue import REFUSED, SETTLE_AND_CLAIM
from app.store.retry_set import member_of
from tests.redis.conftest import Deny, OpenRig
from tests.redis.rig import BRISK, MIB, Answers, Rig

FAILED = History(attempts=1, first_failed_at=1, last_failed_at=1, last_result="timeout")
DESTINATIONS = {"retry": "retry", "dead": "dead", "pending": "pending"}
FAR = 32_503_680_000_000.0
"""The year 3000."""


def member(body: bytes, token: str = "p-1") -> bytes:
    return member_of(token, FAILED, body)


def ack(body: bytes) -> Settlement:
    return Settlement("processing", "", body)


def ack_retried(element: bytes) -> Settlement:
    return Settlement("retry", "", element)


def defer(body: bytes, token: str = "p-1", delay: float = 60) -> Settlement:
    return Settlement("processing", "retry", body, member(body, token), delay)


def defer_again(element: bytes, body: bytes, token: str, delay: float = 60) -> Settlement:
    return Settlement("retry", "retry", element, member(body, token), delay)


def bury(body: bytes) -> Settlement:
    return Settlement("processing", "dead", body, b"letter of " + body)


def give_back(body: bytes) -> Settlement:
    return Settlement("processing", "pending", body, body)


def give_back_retried(element: bytes) -> Settlement:
    return Settlement("hand", "retry", element, element)


def settlement_to(place: str, body: bytes) -> Settlement:
    return {"retry": defer, "dead": bury, "pending": give_back, "": ack}[place](body)


def command(rig: Rig) -> list[Word]:
    """Return the command of an exchange up to where its own arguments begin: for what `exchange` would repeat."""
    slot, lane = rig.slot, rig.keys
    own = [slot.owner, slot.ops, slot.processing]
    keys = [*own, lane.pending, lane.retry, lane.retrying, lane.dead, slot.scratch]
    return ["EVAL", SETTLE_AND_CLAIM.text, len(keys), *keys, rig.lease.value, rig.lease.lease_ms, 1, 1]


async def hand_out(rig: Rig, *bodies: bytes) -> list[bytes]:
    """Have members handed out that were due."""
    members = {member(body, f"p-{number}"): 1.0 + number for number, body in enumerate(bodies)}
    await rig.redis.zadd(rig.keys.retry, members)
    done = await rig.exchange(deferred=len(bodies))
    assert done.handed_out == list(members)
    return done.handed_out


@pytest.fixture(params=[0, 1000], ids=["marked", "searched"])
def timings(request: pytest.FixtureRequest) -> Timings:
    """Both ways of taking CDRs out of the processing list."""
    return replace(BRISK, long_list=request.param)


@pytest.fixture
async def rig(open_rig: OpenRig, timings: Timings) -> Rig:
    return await open_rig(timings=timings)


@pytest.fixture
async def limited_rig(open_rig: OpenRig, limited: str, timings: Timings) -> Rig:
    return await open_rig(redis_username=limited, redis_password="secret", timings=timings)


async def test_claims_oldest_first(rig: Rig) -> None:
    """With the oldest at the head, CDRs are claimed from there, and stand in processing in the same order."""
    await rig.redis.rpush(rig.keys.pending, "1", "2", "3")
    done = await rig.exchange(new=2)
    assert (done.claimed, done.pending) == ([b"1", b"2"], 1)
    assert await rig.processing() == [b"1", b"2"]


async def test_claims_from_the_tail(rig: Rig) -> None:
    """With the oldest at the tail, it is claimed from there, and given back there."""
    await rig.redis.rpush(rig.keys.pending, "3", "2", "1")
    done = await rig.exchange(new=2, oldest="tail")
    assert done.claimed == [b"1", b"2"]
    await rig.exchange(give_back(b"2"), give_back(b"1"), oldest="tail")
    assert (await rig.pending(), await rig.processing()) == ([b"3", b"2", b"1"], [])


async def test_claims_no_more_than_the_bytes(rig: Rig) -> None:
    """The CDR that fills the bytes is the last one: one larger than all comes alone."""
    await rig.redis.rpush(rig.keys.pending, b"x" * 100, b"y" * 10, b"z" * 10)
    assert (await rig.exchange(new=3, most_bytes=50)).claimed == [b"x" * 100]
    assert (await rig.exchange(new=3, most_bytes=11)).claimed == [b"y" * 10, b"z" * 10]


async def test_handed_out_bytes_count(rig: Rig) -> None:
    """Deferred and new CDRs share the bytes of one reply."""
    await rig.redis.zadd(rig.keys.retry, {member(b"x" * 100, "p-1"): 1, member(b"y" * 100, "p-2"): 2})
    await rig.redis.rpush(rig.keys.pending, "new")
    done = await rig.exchange(new=1, deferred=2, most_bytes=50)
    assert (done.handed_out, done.claimed) == ([member(b"x" * 100, "p-1")], [])


async def test_ack_takes_one_of_twins_from_the_head(rig: Rig) -> None:
    """Twins are acked one by one, the oldest first."""
    await rig.redis.rpush(rig.slot.processing, "twin", "other", "twin")
    done = await rig.exchange(ack(b"twin"))
    assert done.results == [True]
    assert await rig.processing() == [b"other", b"twin"]


async def test_batches_leave_what_stands_between_them(rig: Rig) -> None:
    """In a row, out of order, gone, twins: each ack takes out its own, whatever was taken out before it."""
    await rig.redis.rpush(rig.slot.processing, *["a", "b", "c", "twin", "d", "e", "twin", "f", "g", "twin"])
    acked = b"d e twin g b gone c twin".split()
    done = await rig.exchange(*map(ack, acked))
    assert done.results == [element != b"gone" for element in acked]
    assert await rig.processing() == [b"a", b"f", b"twin"]


@pytest.mark.parametrize("command", ["lset", "lpos", "lindex"])
async def test_missing_right_to_mark(limited_rig: Rig, deny: Deny, command: str) -> None:
    """Each CDR is searched for, as in a short list."""
    await limited_rig.redis.rpush(limited_rig.slot.processing, "1", "2", "3")
    await deny(command)
    done = await limited_rig.exchange(ack(b"2"), ack(b"3"))
    assert done.results == [True, True]
    assert await limited_rig.processing() == [b"1"]


async def test_missing_right_to_ack(limited_rig: Rig, deny: Deny) -> None:
    """Nothing is marked that could not be removed."""
    await limited_rig.redis.rpush(limited_rig.slot.processing, "1", "2")
    await deny("lrem")
    done = await limited_rig.exchange(ack(b"2"))
    assert isinstance(done.results[0], str)
    assert await limited_rig.processing() == [b"1", b"2"]


async def test_ack_that_finds_nothing(rig: Rig) -> None:
    """It says so, and changes nothing."""
    await rig.redis.rpush(rig.slot.processing, "other")
    assert (await rig.exchange(ack(b"lost"))).results == [False]
    assert await rig.processing() == [b"other"]


@pytest.mark.parametrize("holder", ["retry", "retrying"])
async def test_ack_of_a_retried_one_from_whichever_holds_it(rig: Rig, holder: str) -> None:
    """Its visibility may have ended during the POST: the 2xx removes it all the same, and a twin stays."""
    key = {"retry": rig.keys.retry, "retrying": rig.keys.retrying}[holder]
    now = await rig.now()
    await rig.redis.zadd(key, {member(b"cdr", "p-1"): now + 60_000, member(b"cdr", "p-2"): now + 60_000})
    assert (await rig.exchange(ack_retried(member(b"cdr", "p-1")))).results == [True]
    assert await rig.members(key) == [member(b"cdr", "p-2")]


async def test_defer_moves_it(rig: Rig) -> None:
    """It leaves processing, and is due by Redis' clock after its delay."""
    await rig.redis.rpush(rig.slot.processing, "cdr", "other")
    before = await rig.now()
    done = await rig.exchange(defer(b"cdr", delay=60))
    assert (done.results, done.deferred) == ([True], 1)
    assert done.next_due
    assert 59 < done.next_due <= 60
    due = await rig.redis.zscore(rig.keys.retry, member(b"cdr"))
    assert due is not None
    assert before + 60_000 <= due <= await rig.now() + 60_000
    assert await rig.processing() == [b"other"]


async def test_defer_of_a_retried_one_replaces_its_member(rig: Rig) -> None:
    """The member that was handed out goes, the one with the longer history stays."""
    [handed] = await hand_out(rig, b"cdr")
    assert (await rig.exchange(defer_again(handed, b"cdr", "p-9"))).results == [True]
    assert (await rig.retry(), await rig.retrying()) == ([member(b"cdr", "p-9")], [])


async def test_dead_letter_moves_it(rig: Rig) -> None:
    """It leaves processing for the tail of the dead letters."""
    await rig.redis.rpush(rig.slot.processing, "cdr", "other")
    await rig.redis.rpush(rig.keys.dead, "older letter")
    assert (await rig.exchange(bury(b"cdr"))).results == [True]
    assert (await rig.processing(), await rig.dead()) == ([b"other"], [b"older letter", b"letter of cdr"])


async def test_dead_letter_of_a_retried_one(rig: Rig) -> None:
    """It leaves the retry set for the dead letters."""
    [handed] = await hand_out(rig, b"cdr")
    assert (await rig.exchange(Settlement("retry", "dead", handed, b"letter"))).results == [True]
    assert (await rig.dead(), await rig.retry(), await rig.retrying()) == ([b"letter"], [], [])


async def test_give_back_keeps_the_order(rig: Rig) -> None:
    """Given back newest first, they stand before what was pending, in their old order."""
    await rig.redis.rpush(rig.keys.pending, "1", "2", "3")
    await rig.exchange(new=2)
    done = await rig.exchange(give_back(b"2"), give_back(b"1"))
    assert done.results == [True, True]
    assert (await rig.pending(), await rig.processing()) == ([b"1", b"2", b"3"], [])


async def test_give_back_takes_the_newest_twin(rig: Rig) -> None:
    """The older twin may be on the wire: the newest leaves processing."""
    await rig.redis.rpush(rig.slot.processing, "twin", "other", "twin")
    await rig.exchange(give_back(b"twin"))
    assert (await rig.processing(), await rig.pending()) == ([b"twin", b"other"], [b"twin"])


async def test_give_back_of_a_retried_one(rig: Rig) -> None:
    """It is due at once: its history is that of before."""
    [handed] = await hand_out(rig, b"cdr")
    done = await rig.exchange(give_back_retried(handed))
    assert (done.results, done.next_due) == ([True], 0)
    assert (await rig.retry(), await rig.retrying()) == ([handed], [])


async def test_give_back_of_a_retried_one_that_is_not_in_hand(rig: Rig) -> None:
    """Another process has acked it meanwhile: it must not rise from the dead."""
    [handed] = await hand_out(rig, b"cdr")
    await rig.exchange(ack_retried(handed))
    assert (await rig.exchange(give_back_retried(handed))).results == [False]
    assert (await rig.retry(), await rig.retrying()) == ([], [])


async def test_give_back_of_a_retried_one_whose_visibility_ended(rig: Rig) -> None:
    """It waits in the retry set already, with a time of its own, which is kept."""
    [handed] = await hand_out(rig, b"cdr")
    await rig.redis.zrem(rig.keys.retrying, handed)
    await rig.redis.zadd(rig.keys.retry, {handed: await rig.now() + 60_000})
    due = await rig.redis.zscore(rig.keys.retry, handed)
    assert (await rig.exchange(give_back_retried(handed))).results == [False]
    assert await rig.redis.zscore(rig.keys.retry, handed) == due


@pytest.mark.parametrize("place", DESTINATIONS)
async def test_nothing_to_take_out_takes_the_push_back(rig: Rig, place: str) -> None:
    """An exit that comes late pushes nothing, and what stood there before is as it was."""
    await rig.redis.rpush(rig.keys.pending, "1", "2")
    await rig.redis.rpush(rig.keys.dead, "1", "2")
    await rig.redis.zadd(rig.keys.retry, {member(b"other", "p-7"): FAR})
    assert (await rig.exchange(settlement_to(place, b"cdr"))).results == [False]
    assert (await rig.pending(), await rig.dead()) == ([b"1", b"2"], [b"1", b"2"])
    assert await rig.retry() + await rig.retrying() == [member(b"other", "p-7")]


async def test_nothing_to_take_out_with_the_oldest_at_the_tail(rig: Rig) -> None:
    """The push is taken back at the end where it was made."""
    await rig.redis.rpush(rig.keys.pending, "2", "1")
    assert (await rig.exchange(give_back(b"cdr"), oldest="tail")).results == [False]
    assert await rig.pending() == [b"2", b"1"]


async def test_late_defer_after_an_ack(rig: Rig) -> None:
    """A retried CDR that was acked elsewhere stays acked."""
    [handed] = await hand_out(rig, b"cdr")
    await rig.exchange(ack_retried(handed))
    assert (await rig.exchange(defer_again(handed, b"cdr", "q-1"))).results == [False]
    assert (await rig.retry(), await rig.retrying()) == ([], [])


async def test_both_processes_fail_one_that_was_frozen(open_rig: OpenRig) -> None:
    """A process freezes past the visibility of a CDR, another is handed it, and both fail: one copy is left."""
    frozen, other = await open_rig(), await open_rig()
    await frozen.redis.zadd(frozen.keys.retry, {member(b"cdr"): 1})
    [handed] = (await frozen.exchange(deferred=1, visibility=0)).handed_out
    assert (await other.exchange(deferred=1)).handed_out == [handed]
    assert (await other.exchange(defer_again(handed, b"cdr", "other-1"))).results == [True]
    assert (await frozen.exchange(defer_again(handed, b"cdr", "frozen-1"))).results == [False]
    assert (await frozen.retry(), await frozen.retrying()) == ([member(b"cdr", "other-1")], [])


async def test_a_token_that_is_there_is_refused(rig: Rig) -> None:
    """Two CDRs under one token would become one: the second stays where it is."""
    await rig.redis.rpush(rig.slot.processing, "twin", "twin")
    done = await rig.exchange(defer(b"twin", "p-1"), defer(b"twin", "p-1"))
    assert done.results == [True, False]
    assert (await rig.processing(), await rig.retry()) == ([b"twin"], [member(b"twin", "p-1")])


async def test_twins_stay_two(rig: Rig) -> None:
    """Under tokens of their own both wait, and both are handed out."""
    await rig.redis.rpush(rig.slot.processing, "twin", "twin")
    await rig.exchange(defer(b"twin", "p-1", 0), defer(b"twin", "p-2", 0))
    done = await rig.exchange(deferred=9)
    assert Counter(done.handed_out) == {member(b"twin", "p-1"): 1, member(b"twin", "p-2"): 1}


@pytest.mark.parametrize("place", DESTINATIONS)
async def test_wrong_type_of_a_destination(rig: Rig, place: str) -> None:
    """Only the settlements to that key are refused, with its name; the others go on."""
    key = {"retry": rig.keys.retry, "dead": rig.keys.dead, "pending": rig.keys.pending}[place]
    await rig.redis.set(key, "of somebody")
    await rig.redis.rpush(rig.slot.processing, "refused", "acked", *DESTINATIONS)
    others = [to for to in DESTINATIONS if to != place]
    done = await rig.exchange(
        settlement_to(place, b"refused"), ack(b"acked"), *(settlement_to(to, to.encode()) for to in others)
    )
    refusal, *rest = done.results
    assert isinstance(refusal, str)
    assert "WRONGTYPE" in refusal
    assert key in refusal
    assert rest == [True, True, True]
    assert await rig.processing() == [b"refused", place.encode()]
    assert await rig.redis.get(key) == b"of somebody"


@pytest.mark.parametrize("place", ["retry", "retrying"])
async def test_wrong_type_of_the_retry_set_skips_only_what_is_due(rig: Rig, place: str) -> None:
    """New CDRs are claimed, and acked."""
    key = {"retry": rig.keys.retry, "retrying": rig.keys.retrying}[place]
    await rig.redis.set(key, "of somebody")
    await rig.redis.rpush(rig.keys.pending, "new")
    await rig.redis.rpush(rig.slot.processing, "old", "fails")
    done = await rig.exchange(ack(b"old"), defer(b"fails"), new=1, deferred=1)
    assert done.results[0] is True
    assert isinstance(done.results[1], str)
    assert (done.claimed, done.handed_out, done.next_due) == ([b"new"], [], None)
    assert f"hand out from {rig.keys.retry}" in rig.link.refused


async def test_wrong_type_of_pending_skips_only_the_claims(rig: Rig) -> None:
    """Acks and deferred CDRs go on, and the refusal is told."""
    await rig.redis.set(rig.keys.pending, "of somebody")
    await rig.redis.rpush(rig.slot.processing, "old")
    await rig.redis.zadd(rig.keys.retry, {member(b"due"): 1})
    done = await rig.exchange(ack(b"old"), new=1, deferred=1)
    assert (done.results, done.claimed, done.handed_out) == ([True], [], [member(b"due")])
    assert done.refused
    assert f"claim from {rig.keys.pending}" in rig.link.refused


@pytest.mark.parametrize("command", ["lrem", "zrem"])
@pytest.mark.parametrize("place", DESTINATIONS)
async def test_missing_right_to_take_out(limited_rig: Rig, deny: Deny, command: str, place: str) -> None:
    """It is refused before the first push, however often it is tried: nothing is multiplied."""
    rig = limited_rig
    await rig.redis.rpush(rig.keys.pending, "new")
    await rig.redis.rpush(rig.slot.processing, "cdr", "acked")
    await deny(command)
    for _ in range(3):
        done = await rig.exchange(settlement_to(place, b"cdr"))
        if command == "zrem" and place == "pending":
            assert done.results == [True]  # it needs no such right
            return
        assert isinstance(done.results[0], str)
    assert await rig.processing() == [b"cdr", b"acked"]
    assert (await rig.pending(), await rig.dead(), await rig.retry()) == ([b"new"], [], [])
    assert (await rig.exchange(new=1)).claimed == [b"new"]


@pytest.mark.parametrize(
    ("command", "place", "oldest"), [("rpop", "dead", "head"), ("lpop", "pending", "head"), ("rpop", "pending", "tail")]
)
async def test_missing_right_to_take_a_push_back(
    limited_rig: Rig, deny: Deny, command: str, place: str, oldest: str
) -> None:
    """An undo would lack its right: the exit is refused though its push and its removal are allowed."""
    rig = limited_rig
    await rig.redis.rpush(rig.slot.processing, "cdr", "acked")
    await deny(command)
    done = await rig.exchange(settlement_to(place, b"cdr"), ack(b"acked"), oldest=oldest)
    assert isinstance(done.results[0], str)
    assert done.results[1] is True
    assert (await rig.processing(), await rig.pending(), await rig.dead()) == ([b"cdr"], [], [])


@pytest.mark.parametrize(("command", "place"), [("zadd", "retry"), ("rpush", "dead"), ("lpush", "pending")])
async def test_missing_right_to_push(limited_rig: Rig, deny: Deny, command: str, place: str) -> None:
    """The CDR stays in processing."""
    rig = limited_rig
    await rig.redis.rpush(rig.slot.processing, "cdr", "acked")
    await deny(command)
    done = await rig.exchange(settlement_to(place, b"cdr"), ack(b"acked"))
    assert isinstance(done.results[0], str)
    assert done.results[1] is True
    assert await rig.processing() == [b"cdr"]


@pytest.mark.parametrize("command", ["zadd", "zrem", "zrange", "zrangebyscore", "zrevrangebyscore"])
async def test_missing_right_to_hand_out(limited_rig: Rig, deny: Deny, command: str) -> None:
    """Deferred CDRs wait, in one set only; new ones are claimed, and acks are done and answered."""
    rig = limited_rig
    expired, due = member(b"expired", "p-1"), member(b"due", "p-2")
    await rig.redis.zadd(rig.keys.retry, {due: await rig.now() + 60_000})
    await rig.redis.zadd(rig.keys.retrying, {expired: 1})
    await rig.redis.rpush(rig.keys.pending, "new")
    await rig.redis.rpush(rig.slot.processing, "old")
    await deny(command)
    done = await rig.exchange(ack(b"old"), new=1, deferred=2)
    assert (done.results, done.claimed) == ([True], [b"new"])
    assert f"hand out from {rig.keys.retry}" in rig.link.refused
    assert Counter(await rig.retry() + await rig.retrying()) == {expired: 1, due: 1}


async def test_missing_right_to_claim(limited_rig: Rig, deny: Deny) -> None:
    """Nothing new is claimed; what was claimed is acked."""
    rig = limited_rig
    await rig.redis.rpush(rig.keys.pending, "new")
    await rig.redis.rpush(rig.slot.processing, "old")
    await deny("lmove")
    done = await rig.exchange(ack(b"old"), new=1)
    assert (done.results, done.claimed, done.refused) == ([True], [], True)
    assert await rig.pending() == [b"new"]


async def test_full_redis_drains(own_redis: EmbeddedRedis, own_client: Redis, open_rig: OpenRig) -> None:
    """Over `maxmemory` all settlements and all claims work: this is what frees memory."""
    rig = await open_rig(own_redis.url)
    await rig.redis.rpush(rig.slot.processing, "acked", "retry", "dead", "pending")
    await rig.redis.rpush(rig.keys.pending, "new", "new")
    await rig.redis.zadd(rig.keys.retry, {member(b"due"): 1})
    await own_client.config_set("maxmemory", "1")
    settlements = [ack(b"acked"), *(settlement_to(place, place.encode()) for place in DESTINATIONS)]
    done = await rig.exchange(*settlements, new=2, deferred=1)
    assert done.results == [True] * 4
    assert (done.claimed, done.handed_out) == ([b"pending", b"new"], [member(b"due")])
    assert (await rig.dead(), await rig.retry()) == ([b"letter of dead"], [member(b"retry")])


async def test_sent_again_it_does_nothing(rig: Rig) -> None:
    """Its reply was lost: the twin, and what is pending, stay."""
    await rig.redis.rpush(rig.slot.processing, "twin", "twin")
    await rig.redis.rpush(rig.keys.pending, "1", "2")
    channel = rig.recording()
    await rig.exchange(ack(b"twin"), new=1, channel=channel)
    assert await channel.ask(*channel.sent[-1]) is None
    assert (await rig.processing(), await rig.pending()) == ([b"twin", b"1"], [b"2"])


async def test_sent_again_it_says_what_was_refused(rig: Rig) -> None:
    """What is still ours must not be taken for settled because a reply was lost."""
    await rig.redis.rpush(rig.slot.processing, "one", "two", "three", "four")
    await rig.redis.set(rig.keys.dead, "of somebody")
    channel = rig.recording()
    settlements = ack(b"one"), bury(b"two"), ack(b"three"), bury(b"four")
    await rig.exchange(*settlements, new=1, channel=channel)
    assert await channel.ask(*channel.sent[-1]) == b" 2 4"
    assert await rig.processing() == [b"two", b"four"]


async def test_a_lost_reply_leaves_what_was_refused(rig: Rig) -> None:
    """As the claimer hears of it."""
    await rig.redis.rpush(rig.slot.processing, "one", "two")
    await rig.redis.set(rig.keys.dead, "of somebody")
    channel = rig.forgetful()
    done = await rig.queue().exchange(channel, [ack(b"one"), bury(b"two")], Wanted(1), 30.0)
    assert (done.sent_again, done.answered) == (True, False)
    assert done.results == [True, REFUSED]


async def test_sent_again_behind_a_later_one(rig: Rig) -> None:
    """A command that a slow network delivers after its successor is known by its lower number."""
    await rig.redis.rpush(rig.slot.processing, "twin", "twin")
    channel = rig.recording()
    await rig.exchange(ack(b"twin"), channel=channel)
    await rig.exchange(ack(b"other"), channel=channel)
    assert await channel.ask(*channel.sent[-2]) is None
    assert await rig.processing() == [b"twin"]


@pytest.mark.parametrize("odd", ["1e300", "abc", "", "inf"])
async def test_odd_sequence_numbers(rig: Rig, odd: str) -> None:
    """A number that we never wrote stops nothing: the exchange happens once."""
    await rig.redis.rpush(rig.keys.pending, "1", "2")
    queue = rig.queue()
    channel = queue.channel()
    await rig.redis.hset(rig.slot.ops, str(channel.number), odd)
    done = await rig.exchange(new=1, channel=channel)
    assert done.claimed == [b"1"]
    assert await rig.pending() == [b"2"]


async def test_wrong_type_of_processing(rig: Rig) -> None:
    """All that is asked for is refused, and may be sent again."""
    await rig.redis.set(rig.slot.processing, "of somebody")
    await rig.redis.rpush(rig.keys.pending, "new")
    channel = rig.recording()
    words = [*command(rig), "LEFT", 1, MIB, 0, 0, "due", 0, 1000, 0]
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await channel.ask(*words)
    await rig.redis.delete(rig.slot.processing)
    assert await channel.ask(*words)
    assert await rig.processing() == [b"new"]


async def test_without_the_lease_nothing_is_done(rig: Rig) -> None:
    """The owner is somebody else by now: acks of ours must not touch its list."""
    await rig.redis.rpush(rig.slot.processing, "cdr")
    await rig.redis.set(rig.slot.owner, "another", px=60_000)
    channel = rig.recording()
    with pytest.raises(ResponseError, match="FENCED"):
        await channel.ask(*command(rig), "LEFT", 0, 1, 0, 0, "due", 0, 1000, 1, "processing", "", "cdr", "", 0)
    assert await rig.processing() == [b"cdr"]
    assert await rig.redis.get(rig.slot.owner) == b"another"
    await rig.redis.delete(rig.slot.owner)


async def test_hands_out_what_is_due_only(rig: Rig) -> None:
    """The next one is due when the answer says."""
    await rig.redis.zadd(rig.keys.retry, {member(b"due", "p-1"): 1, member(b"later", "p-2"): await rig.now() + 60_000})
    done = await rig.exchange(deferred=9)
    assert done.handed_out == [member(b"due", "p-1")]
    assert done.next_due is not None
    assert 29 < done.next_due <= 60
    assert (await rig.retrying(), done.deferred) == ([member(b"due", "p-1")], 2)


async def test_more_is_due_than_was_asked_for(rig: Rig) -> None:
    """The answer says to come again at once."""
    await rig.redis.zadd(rig.keys.retry, {member(b"1", "p-1"): 1, member(b"2", "p-2"): 2})
    assert (await rig.exchange(deferred=1)).next_due == 0


async def test_nothing_deferred(rig: Rig) -> None:
    """There is nothing to wait for."""
    assert (await rig.exchange(deferred=1)).next_due is None


async def test_handed_out_once(open_rig: OpenRig) -> None:
    """What one process was handed is no other's until its visibility ends, and is due then."""
    one, other = await open_rig(), await open_rig()
    await one.redis.zadd(one.keys.retry, {member(b"cdr"): 1})
    assert (await one.exchange(deferred=9)).handed_out == [member(b"cdr")]
    for early in (None, ""):
        done = await other.exchange(deferred=9, early=early)
        assert done.handed_out == []
        assert done.next_due is not None
        assert 29 < done.next_due <= 30


async def test_expired_visibility_is_taken_back(rig: Rig) -> None:
    """Its process is gone: it is handed out again, with its history, and no copy is left behind."""
    await rig.redis.zadd(rig.keys.retrying, {member(b"cdr"): 1})
    done = await rig.exchange(deferred=1)
    assert (done.handed_out, done.deferred) == ([member(b"cdr")], 1)
    assert (await rig.retry(), await rig.retrying()) == ([], [member(b"cdr")])


async def test_many_expired_at_once(rig: Rig) -> None:
    """Only so many are taken back by one script; the answer says to come again at once."""
    await rig.redis.zadd(rig.keys.retrying, {member(b"cdr", f"p-{number}"): 1 for number in range(100)})
    done = await rig.exchange(deferred=100)
    assert (len(done.handed_out), done.next_due) == (64, 0)
    assert len((await rig.exchange(deferred=100)).handed_out) == 36


@pytest.mark.parametrize("score", ["inf", FAR, "-inf"])
@pytest.mark.parametrize("place", ["retry", "retrying"])
async def test_scores_that_nobody_meant(rig: Rig, place: str, score: float | str) -> None:
    """A score in the far future, from a clock that was wrong, is due now."""
    key = {"retry": rig.keys.retry, "retrying": rig.keys.retrying}[place]
    await rig.redis.zadd(key, {member(b"cdr"): score})
    assert (await rig.exchange(deferred=1)).handed_out == [member(b"cdr")]


async def test_a_visibility_longer_than_any_backoff_is_meant(open_rig: OpenRig) -> None:
    """A long timeout with a short backoff: what is in hand is not taken for a score that nobody meant."""
    one = await open_rig(webhook_timeout="3600", webhook_backoff_max="1")
    loops = one.loops(Answers())
    await one.redis.zadd(one.keys.retry, {member(b"cdr"): 1})
    lane = loops.lane
    channel = lane.queue.channel()
    first = await lane.queue.exchange(channel, [], Wanted(0, 1), lane.visibility)
    again = await lane.queue.exchange(channel, [], Wanted(0, 1), lane.visibility)
    assert (first.handed_out, again.handed_out) == ([member(b"cdr")], [])


async def test_earliest_though_not_due(rig: Rig) -> None:
    """A probe is handed the one that is due next."""
    now = await rig.now()
    await rig.redis.zadd(rig.keys.retry, {member(b"2", "p-2"): now + 90_000, member(b"1", "p-1"): now + 60_000})
    assert (await rig.exchange(deferred=1, early="")).handed_out == [member(b"1", "p-1")]


async def test_earliest_but_not_the_same(rig: Rig) -> None:
    """The second of a pair of probes is another CDR, also where a twin of the first is due before it."""
    now = await rig.now()
    members = {member(b"failed", "p-1"): now + 1_000, b"failed": now + 2_000, member(b"other", "p-2"): now + 60_000}
    await rig.redis.zadd(rig.keys.retry, members)
    failed = hashlib.sha1(b"failed", usedforsecurity=False).hexdigest()
    assert (await rig.exchange(deferred=1, early=failed)).handed_out == [member(b"other", "p-2")]
    assert (await rig.exchange(deferred=1, early=failed)).handed_out == [member(b"failed", "p-1")]


async def test_members_without_a_header(rig: Rig) -> None:
    """Whatever stands in the set is a CDR: it is handed out and acked as it is."""
    odd = [b"", b"\xff\x00", b"cdr1 ", b"cdr1 \n", b'{"type": "cdr"}']
    await rig.redis.zadd(rig.keys.retry, dict.fromkeys(odd, 1))
    done = await rig.exchange(deferred=9)
    assert Counter(done.handed_out) == Counter(odd)
    assert (await rig.exchange(*map(ack_retried, odd))).results == [True] * len(odd)


async def test_history_survives_its_way(rig: Rig) -> None:
    """What is deferred comes back byte for byte."""
    body = bytes(range(256))
    await rig.redis.rpush(rig.slot.processing, body)
    await rig.exchange(Settlement("processing", "retry", body, member_of("t", NEVER_FAILED, body)))
    assert (await rig.exchange(deferred=1)).handed_out == [member_of("t", NEVER_FAILED, body)]


async def test_teaches_the_clock(rig: Rig) -> None:
    """Every answer carries Redis' time."""
    await rig.exchange()
    assert abs(rig.clock.now() - await rig.now()) < 1000


async def test_renews_the_lease(rig: Rig) -> None:
    """An exchange is a sign of life."""
    await rig.redis.pexpire(rig.slot.owner, 100)
    await rig.exchange()
    assert await rig.redis.pttl(rig.slot.owner) > 1000
