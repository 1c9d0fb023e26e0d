"""How CDRs move between the lists: what each script promises, and that no refusal half-way loses one."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import pytest
from app.lane.parking import FailingRecord, now
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.cdr import Cdr, webhook_id
from app.config.settings import Settings
from app.dead_letters.letter import dead_letter
from app.demo.embedded import EmbeddedRedis
from app.errors import OperatorRedisError
from app.store.client import Link
from app.store.keys import LaneKeys, Slot
from app.store.lease import Ownership
from app.store.queue import HEAD, TAIL, Ack, Exchanged, Queue, Side
from tests.harness import eventually, settings_from

PLENTY = 1024 * 1024
LETTER = dead_letter(Cdr(b"cdr", attempts=1), "webhook", "rejected", 422)
SCRIPTS = ("exchange", "bury", "park", "adopt")


@dataclass
class Bench:
    """A queue whose slot is held, and the lists as Redis has them."""

    queue: Queue
    link: Link
    ownership: Ownership
    slot: Slot
    keys: LaneKeys
    redis: Redis

    @property
    def orphan(self) -> Slot:
        return Slot(self.slot.integrator, 7)

    async def elements(self, key: str) -> list[bytes]:
        elements: Any = await self.redis.lrange(key, 0, -1)
        return list(elements)

    async def pending(self) -> list[bytes]:
        return await self.elements(self.keys.pending)

    async def processing(self) -> list[bytes]:
        return await self.elements(self.slot.processing)

    async def claim(self, claims: int, most_bytes: int = PLENTY) -> list[bytes]:
        done = await self.queue.exchange([], claims, most_bytes)
        assert done
        return done.claimed

    async def hold_failing(self, *bodies: bytes) -> None:
        for body in bodies:
            await self.redis.hset(self.keys.failing, mapping={webhook_id(body): due().to_json()})


def due() -> FailingRecord:
    return FailingRecord(now(), 5, now())


def ack(body: bytes, side: Side = TAIL) -> Ack:
    return Ack(body, side, "")


async def a_bench(settings: Settings, client: Redis) -> Bench:
    link = Link(settings, "bench")
    ownership = Ownership(link, "bench", settings)
    slot = await ownership.take()
    keys = LaneKeys(settings.integrator, settings.source_key)
    queue = Queue(link, ownership, slot, keys, settings.source_oldest)
    return Bench(queue, link, ownership, slot, keys, client)


@pytest.fixture
def oldest() -> Literal["head", "tail"]:
    return "head"


@pytest.fixture
async def bench(variables: dict[str, str], client: Redis, oldest: str) -> AsyncIterator[Bench]:
    bench = await a_bench(settings_from(variables | {"CDR_LEASE": "600", "CDR_SOURCE_OLDEST": oldest}), client)
    yield bench
    await bench.link.aclose()


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


# --- claims and acks


@pytest.mark.parametrize(("oldest", "expected"), [("head", [b"1", b"2"]), ("tail", [b"3", b"2"])])
async def test_an_exchange_claims_the_oldest_first(bench: Bench, expected: list[bytes]) -> None:
    """From the end of pending that is old, to the tail of processing."""
    await bench.redis.rpush(bench.keys.pending, "1", "2", "3")
    assert await bench.claim(2) == expected
    assert await bench.processing() == expected


@pytest.mark.parametrize(("oldest", "expected"), [("head", b"1"), ("tail", b"3")])
async def test_a_wait_claims_the_oldest(bench: Bench, expected: bytes) -> None:
    """The same end, for what comes one by one."""
    await bench.redis.rpush(bench.keys.pending, "1", "2", "3")
    assert await bench.queue.wait() == expected
    assert await bench.processing() == [expected]


async def test_a_wait_in_vain_ends_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes, and nothing is moved."""
    monkeypatch.setattr("app.store.queue.WAIT", 0.05)
    assert await bench.queue.wait() is None
    assert await bench.processing() == []


async def test_an_exchange_acks_and_claims_in_one(bench: Bench) -> None:
    """One round trip does both, and says what came of each."""
    await bench.redis.rpush(bench.keys.pending, "1", "2", "3")
    await bench.claim(2)
    done = await bench.queue.exchange([ack(b"1"), ack(b"2")], 5, PLENTY)
    assert done == Exchanged(acked=2, claimed=[b"3"], refusal="")
    assert await bench.processing() == [b"3"]


async def test_an_ack_removes_one_of_the_twins(bench: Bench) -> None:
    """Each copy has its own delivery, and its own ack."""
    await bench.redis.rpush(bench.slot.processing, "twin", "twin", "twin")
    done = await bench.queue.exchange([ack(b"twin"), ack(b"twin")], 0, PLENTY)
    assert done == Exchanged(acked=2, claimed=[], refusal="")
    assert await bench.processing() == [b"twin"]


@pytest.mark.parametrize(("side", "left"), [(HEAD, [b"a", b"twin"]), (TAIL, [b"twin", b"a"])])
async def test_an_ack_searches_from_the_side_that_it_is_told(bench: Bench, side: Side, left: list[bytes]) -> None:
    """What was recovered stands at the head, what is new at the tail; a search costs what it passes."""
    await bench.redis.rpush(bench.slot.processing, "twin", "a", "twin")
    await bench.queue.exchange([ack(b"twin", side)], 0, PLENTY)
    assert await bench.processing() == left


async def test_an_ack_that_finds_nothing_is_told_and_harms_nothing(bench: Bench) -> None:
    """Somebody else removed it: no reason to stop."""
    await bench.redis.rpush(bench.slot.processing, "here")
    done = await bench.queue.exchange([ack(b"not here"), ack(b"here")], 0, PLENTY)
    assert done == Exchanged(acked=1, claimed=[], refusal="")


async def test_an_ack_takes_the_failing_record_with_it(bench: Bench) -> None:
    """Its own, and no other."""
    await bench.redis.rpush(bench.slot.processing, "a")
    await bench.hold_failing(b"a", b"b")
    await bench.queue.exchange([Ack(b"a", HEAD, webhook_id(b"a"))], 0, PLENTY)
    assert await bench.redis.hkeys(bench.keys.failing) == [webhook_id(b"b").encode()]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"\r\n$-1\r\n", b"x" * 1024 * 1024], ids=len)
async def test_any_bytes_are_claimed_and_acked(bench: Bench, body: bytes) -> None:
    """They are never decoded on the way, in a script as little as here."""
    await bench.redis.rpush(bench.keys.pending, body)
    assert await bench.claim(1) == [body]
    done = await bench.queue.exchange([ack(body)], 1, PLENTY)
    assert done == Exchanged(acked=1, claimed=[], refusal="")


@pytest.mark.parametrize(("most_bytes", "claimed"), [(1, 1), (10, 1), (11, 2), (29, 3), (30, 3), (31, 4)])
async def test_a_claim_ends_when_its_bytes_are_reached(bench: Bench, most_bytes: int, claimed: int) -> None:
    """The one that reaches the bound is the last: at least one is claimed, however long."""
    await bench.redis.rpush(bench.keys.pending, *["ten bytes."] * 5)
    assert len(await bench.claim(5, most_bytes)) == claimed


# --- operations are applied once, by the owner only


async def resent(bench: Bench, monkeypatch: pytest.MonkeyPatch, send: Callable[[], Awaitable[Any]]) -> Any:
    """Send an operation, and send it again under the same number, as after a lost reply."""
    monkeypatch.setattr("app.store.queue.CHANNELS", 1)
    bench.queue = Queue(bench.link, bench.ownership, bench.slot, bench.keys, "head")
    monkeypatch.setattr("app.store.queue.operation_numbers", iter([10**9, 10**9]))
    await send()
    return await send()


async def test_an_exchange_that_is_sent_again_is_applied_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second LREM would remove a twin that nobody has delivered, a second claim hide one in processing."""
    await bench.redis.rpush(bench.slot.processing, "twin", "twin")
    await bench.redis.rpush(bench.keys.pending, "1", "2")
    again = await resent(bench, monkeypatch, lambda: bench.queue.exchange([ack(b"twin")], 1, PLENTY))
    assert again is None
    assert await bench.processing() == [b"twin", b"1"]
    assert await bench.pending() == [b"2"]


async def test_a_bury_that_is_sent_again_is_applied_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin stays, and there is one dead letter."""
    await bench.redis.rpush(bench.slot.processing, "cdr", "cdr")
    again = await resent(bench, monkeypatch, lambda: bench.queue.bury(b"cdr", TAIL, webhook_id(b"cdr"), LETTER))
    assert again is None
    assert await bench.processing() == [b"cdr"]
    assert await bench.elements(bench.keys.dead) == [LETTER]


async def test_an_adoption_that_is_sent_again_is_applied_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the list is left for the next page."""
    await bench.redis.rpush(bench.orphan.processing, "1", "2")
    await resent(bench, monkeypatch, lambda: bench.queue.adopt(bench.orphan, b"", 1))
    assert await bench.processing() == [b"1"]
    assert await bench.elements(bench.orphan.processing) == [b"2"]


async def do_anything(bench: Bench, script: str) -> Any:
    """Do with the CDR `cdr`, or the orphan's one, what the script is for."""
    match script:
        case "exchange":
            return await bench.queue.exchange([Ack(b"cdr", TAIL, webhook_id(b"cdr"))], 1, PLENTY)
        case "bury":
            return await bench.queue.bury(b"cdr", TAIL, webhook_id(b"cdr"), LETTER)
        case "park":
            return await bench.queue.park(b"cdr", TAIL, webhook_id(b"cdr"), due())
        case _:
            return await bench.queue.adopt(bench.orphan, b"", 1)


async def lay_out(bench: Bench) -> None:
    await bench.redis.rpush(bench.slot.processing, "cdr")
    await bench.redis.rpush(bench.keys.pending, "new")
    await bench.redis.rpush(bench.orphan.processing, "orphan")


async def everywhere(bench: Bench) -> Counter[bytes]:
    """Count what is in any list that a CDR can be in; the dead letters as what they hold."""
    found: Counter[bytes] = Counter()
    for key in (bench.keys.pending, bench.slot.processing, bench.orphan.processing):
        found.update(await bench.elements(key) if await bench.redis.type(key) == b"list" else [])
    if await bench.redis.type(bench.keys.dead) == b"list":
        found.update(json.loads(letter)["cdr"].encode() for letter in await bench.elements(bench.keys.dead))
    return found


EVERYTHING = Counter({b"cdr": 1, b"new": 1, b"orphan": 1})
LEFT = {
    "exchange": Counter({b"new": 1, b"orphan": 1}),
    "bury": EVERYTHING,
    "park": EVERYTHING,
    "adopt": EVERYTHING,
}


async def was_applied(bench: Bench, script: str) -> bool:
    """Tell whether what the script is for has come about, once."""
    match script:
        case "exchange":
            return await bench.processing() == [b"new"] and await bench.pending() == []
        case "bury":
            return await bench.processing() == [] and await bench.elements(bench.keys.dead) == [LETTER]
        case "park":
            return await bench.processing() == [b"cdr"] and bool(await bench.redis.hlen(bench.keys.failing))
        case _:
            return await bench.processing() == [b"cdr", b"orphan"]


@pytest.mark.parametrize("owner", [b"somebody else", None], ids=["another", "nobody"])
@pytest.mark.parametrize("script", SCRIPTS)
async def test_only_the_owner_changes_a_list(bench: Bench, script: str, owner: bytes | None) -> None:
    """FENCED: nothing is changed, the lease is doubted, and with the lease back the operation is applied."""
    # given: a lease that is gone
    await lay_out(bench)
    await bench.redis.delete(bench.slot.owner)
    if owner:
        await bench.redis.set(bench.slot.owner, owner)
    # when: the operation is sent
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(do_anything(bench, script))
        await eventually(bench.link.lease_doubted.is_set)
        # then: all is as it was, until the lease is back
        assert await everywhere(bench) == EVERYTHING
        assert await bench.processing() == [b"cdr"]
        assert not await bench.redis.exists(bench.keys.failing)
        await bench.redis.set(bench.slot.owner, bench.ownership.value)
        await work
    assert await was_applied(bench, script)


async def test_what_changes_a_list_renews_the_lease(bench: Bench) -> None:
    """A process that acks is alive, and in a full Redis this is what lets the rest of the script pass."""
    await bench.redis.pexpire(bench.slot.owner, 5000)
    await bench.claim(1)
    assert await bench.redis.pttl(bench.slot.owner) > 5000


# --- dead letters, parked CDRs, adoption


@pytest.mark.parametrize(("side", "left"), [(HEAD, [b"a", b"cdr"]), (TAIL, [b"cdr", b"a"])])
async def test_a_bury_moves_one_and_its_failing_record_goes(bench: Bench, side: Side, left: list[bytes]) -> None:
    """From the side that it is told; dead letters are appended."""
    await bench.redis.rpush(bench.slot.processing, "cdr", "a", "cdr")
    await bench.redis.rpush(bench.keys.dead, "older")
    await bench.hold_failing(b"cdr", b"a")
    assert await bench.queue.bury(b"cdr", side, webhook_id(b"cdr"), LETTER) is True
    assert await bench.processing() == left
    assert await bench.elements(bench.keys.dead) == [b"older", LETTER]
    assert await bench.redis.hkeys(bench.keys.failing) == [webhook_id(b"a").encode()]


@pytest.mark.parametrize(
    ("body", "field", "text"),
    [
        (b'{"type": "cdr"}', "cdr", '{"type": "cdr"}'),
        (b"caf\xc3\xa9", "cdr", "café"),
        (b"\xff\x00", "cdr_base64", "/wA="),
    ],
)
async def test_a_dead_letter_is_what_the_contract_says(bench: Bench, body: bytes, field: str, text: str) -> None:
    """One JSON object; times in ISO 8601 and UTC; the CDR as text, or in base64 where it is not UTF-8."""
    await bench.redis.rpush(bench.slot.processing, body)
    cdr = Cdr(body, failing=due(), attempts=7)
    await bench.queue.bury(body, HEAD, cdr.webhook_id, dead_letter(cdr, "webhook", "gave_up", 503))
    [letter] = map(json.loads, await bench.elements(bench.keys.dead))
    times = [letter.pop("first_failed_at"), letter.pop("dead_at")]
    assert all(time.endswith("+00:00") for time in times)
    assert times == sorted(times)
    expected = {"id": webhook_id(body), "endpoint": "webhook", "reason": "gave_up", "status": 503, "attempts": 7}
    assert letter == {**expected, field: text}


async def test_a_bury_of_what_is_gone_makes_no_dead_letter(bench: Bench) -> None:
    """Somebody else delivers it; its record goes, for nobody would ever remove it."""
    await bench.hold_failing(b"cdr")
    assert await bench.queue.bury(b"cdr", TAIL, webhook_id(b"cdr"), LETTER) is False
    assert not await bench.redis.exists(bench.keys.dead, bench.keys.failing)


async def test_a_park_writes_down_when_to_try_again(bench: Bench) -> None:
    """The CDR stays where it is, and the record is what the next sweep reads."""
    await bench.redis.rpush(bench.slot.processing, "cdr")
    record = FailingRecord(now(), 5, now() + timedelta(seconds=60))
    await bench.queue.park(b"cdr", TAIL, webhook_id(b"cdr"), record)
    assert await bench.processing() == [b"cdr"]
    assert await bench.queue.failing([webhook_id(b"other"), webhook_id(b"cdr")]) == [None, record]


async def test_a_park_of_what_is_gone_leaves_no_record(bench: Bench) -> None:
    """It would stay for ever, and hold back a twin that comes later."""
    await bench.hold_failing(b"cdr")
    await bench.queue.park(b"cdr", TAIL, webhook_id(b"cdr"), due())
    assert not await bench.redis.exists(bench.keys.failing)


@pytest.mark.parametrize(
    "damaged",
    [
        *(
            b"",
            b"not JSON",
            b"\xff",
            b"[]",
            b"3",
            b"null",
            b"{}",
            b'{"first_failed_at": 1, "attempts": 1, "next_try": 1}',
        ),
        b'{"first_failed_at": "yesterday", "attempts": 1, "next_try": "tomorrow"}',
        b'{"first_failed_at": "2026-01-01T00:00:00+00:00", "attempts": "?", "next_try": "2999-01-01T00:00:00+00:00"}',
        b'{"first_failed_at": "0001-01-01T00:00:00+14:00", "attempts": 1, "next_try": "9999-12-31T23:59:59-14:00"}',
        b'{"first_failed_at": "2026-01-01T00:00:00+00:00", "attempts": 1e999, "next_try": "2999-01-01T00:00:00+00:00"}',
    ],
)
async def test_a_damaged_failing_record_is_due(bench: Bench, damaged: bytes) -> None:
    """Whatever a hand left there, its CDR is not forgotten."""
    await bench.redis.hset(bench.keys.failing, mapping={"cdr_damaged": damaged})
    [record] = await bench.queue.failing(["cdr_damaged"])
    assert record
    assert record.next_try <= now()


async def test_a_list_is_adopted_in_pages(bench: Bench) -> None:
    """In its order, to the end of ours, however long it is."""
    await bench.redis.rpush(bench.slot.processing, "ours")
    await bench.redis.rpush(bench.orphan.processing, *range(5))
    assert [await bench.queue.adopt(bench.orphan, b"", 2) for _ in range(4)] == [2, 2, 1, 0]
    assert await bench.processing() == [b"ours", b"0", b"1", b"2", b"3", b"4"]


async def test_a_list_with_an_owner_is_not_adopted(bench: Bench) -> None:
    """Its owner came between the look and the move: the script looks again."""
    await bench.redis.rpush(bench.orphan.processing, "theirs")
    await bench.redis.set(bench.orphan.owner, "somebody")
    assert await bench.queue.adopt(bench.orphan, b"", 2) == 0
    assert await bench.elements(bench.orphan.processing) == [b"theirs"]


# --- pages


async def test_a_page_is_read_from_where_it_is_told(bench: Bench) -> None:
    """As many as are asked for, oldest first; nothing past the end."""
    await bench.redis.rpush(bench.slot.processing, *range(5))
    assert await bench.queue.page(1, 3, PLENTY) == [b"1", b"2", b"3"]
    assert await bench.queue.page(4, 3, PLENTY) == [b"4"]
    assert await bench.queue.page(5, 3, PLENTY) == []


@pytest.mark.parametrize(("most_bytes", "read"), [(1, 1), (10, 1), (19, 1), (20, 2), (100, 5)])
async def test_a_page_is_bounded_in_bytes(bench: Bench, most_bytes: int, read: int) -> None:
    """But one is always read: else a sweep would never come past a long one."""
    await bench.redis.rpush(bench.slot.processing, *["ten bytes."] * 5)
    assert len(await bench.queue.page(0, 5, most_bytes)) == read


async def test_a_page_for_no_free_slot_is_empty(bench: Bench) -> None:
    """In flight may have become full of bytes before the page is read; a whole list must not come instead."""
    await bench.redis.rpush(bench.slot.processing, *range(5))
    assert await bench.queue.page(0, 0, PLENTY) == []


async def test_nothing_moves_while_the_queue_is_held_still(bench: Bench) -> None:
    """What a sweep compares is one moment: operations wait until it is over."""
    await bench.redis.rpush(bench.keys.pending, "cdr")
    async with asyncio.TaskGroup() as tasks:
        async with bench.queue.still():
            exchange = tasks.create_task(bench.claim(1))
            waited = tasks.create_task(bench.queue.wait())
            assert await bench.queue.page(0, 5, PLENTY) == []
            assert not exchange.done()
            assert not waited.done()
        await exchange
        await bench.redis.rpush(bench.keys.pending, "another")
        await waited
    assert sorted(await bench.processing()) == [b"another", b"cdr"]


# --- what a person has to cure


DESTINATIONS = [
    *(("exchange", "processing"), ("exchange", "failing"), ("exchange", "ops")),
    *(("bury", "processing"), ("bury", "failing"), ("bury", "dead"), ("bury", "ops")),
    *(("park", "processing"), ("park", "failing"), ("park", "ops")),
    *(("adopt", "processing"), ("adopt", "orphan"), ("adopt", "ops")),
]


def key_of(bench: Bench, name: str) -> str:
    slot, keys = bench.slot, bench.keys
    every = {"processing": slot.processing, "ops": slot.ops, "orphan": bench.orphan.processing}
    return {**every, "failing": keys.failing, "dead": keys.dead, "pending": keys.pending}[name]


def refused(said: list[EventDict], command: str) -> bool:
    """Tell whether a person has been told that Redis refuses this command."""
    return any(
        (event["event"], event["log_level"], event.get("command")) == ("redis.refused", "error", command)
        for event in said
    )


@pytest.mark.parametrize(("script", "name"), DESTINATIONS)
async def test_a_key_of_another_type_loses_nothing(
    bench: Bench, script: str, name: str, said: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """WRONGTYPE before anything is done; once the key is what it should be, the operation is applied."""
    monkeypatch.setattr("app.store.client.OPERATOR_PAUSE", 0.05)
    await lay_out(bench)
    key = key_of(bench, name)
    # given: a key that is a string, and what it was beside it
    await set_aside(bench, key)
    before = await everywhere(bench)
    # when: the operation is sent
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(do_anything(bench, script))
        await eventually(lambda: refused(said, script))
        # then: a person is told, and nothing has moved
        assert await everywhere(bench) == before
        await put_back(bench, key)
        await work
    assert await was_applied(bench, script)
    assert await everywhere(bench) == LEFT[script]


async def set_aside(bench: Bench, key: str) -> None:
    if await bench.redis.exists(key):
        await bench.redis.rename(key, f"{key}:aside")
    await bench.redis.set(key, "a string")


async def put_back(bench: Bench, key: str) -> None:
    if await bench.redis.exists(f"{key}:aside"):
        await bench.redis.rename(f"{key}:aside", key)
    else:
        await bench.redis.delete(key)


async def test_a_pending_list_of_another_type_does_not_hold_up_acks(bench: Bench) -> None:
    """The claim is refused, and says why; the ack is applied."""
    await bench.redis.rpush(bench.slot.processing, "cdr")
    await bench.redis.set(bench.keys.pending, "a string")
    done = await bench.queue.exchange([ack(b"cdr")], 1, PLENTY)
    assert done
    assert (done.acked, done.claimed) == (1, [])
    assert "WRONGTYPE" in done.refusal
    with pytest.raises(OperatorRedisError):
        await bench.queue.wait()


async def test_a_processing_list_of_another_type_refuses_a_wait(bench: Bench) -> None:
    """The CDR stays pending."""
    await bench.redis.rpush(bench.keys.pending, "cdr")
    await bench.redis.set(bench.slot.processing, "a string")
    with pytest.raises(OperatorRedisError):
        await bench.queue.wait()
    assert await bench.pending() == [b"cdr"]


GUARD = ("evalsha", "get", "hget", "type", "pexpire", "hset")
RIGHTS = [
    *(("exchange", command) for command in (*GUARD, "lrem")),
    *(("bury", command) for command in (*GUARD, "lpos", "rpush", "lrem")),
    *(("park", command) for command in (*GUARD, "lpos")),
    *(("adopt", command) for command in (*GUARD, "lmove")),
]


@pytest.fixture
async def limited(
    redis_server: EmbeddedRedis, variables: dict[str, str], client: Redis, integrator: str
) -> AsyncIterator[Bench]:
    """A bench whose link is an ACL user's, named like the integrator; it may do everything as yet."""
    await client.acl_setuser(integrator, enabled=True, nopass=True, keys=["*"], categories=["+@all"])
    login = {"CDR_REDIS_USERNAME": integrator, "CDR_REDIS_PASSWORD": "any", "CDR_LEASE": "600"}
    bench = await a_bench(settings_from(variables | login), client)
    yield bench
    await bench.link.aclose()
    await client.acl_deluser(integrator)


async def grant(bench: Bench, right: str) -> None:
    await bench.redis.acl_setuser(bench.slot.integrator, enabled=True, commands=[right])


@pytest.mark.parametrize(("script", "command"), RIGHTS)
async def test_a_right_that_is_taken_away_loses_nothing(
    limited: Bench, script: str, command: str, said: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NOPERM half-way through a script: what was done is undone; once granted, the operation is applied."""
    monkeypatch.setattr("app.store.client.OPERATOR_PAUSE", 0.05)
    # given: a user who lacks one right
    await lay_out(limited)
    await do_anything_harmless(limited)
    await grant(limited, f"-{command}")
    # when: the operation is sent
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(do_anything(limited, script))
        await eventually(lambda: refused(said, script))
        # then: a person is told, and nothing has moved
        assert await everywhere(limited) == EVERYTHING
        assert await limited.processing() == [b"cdr"]
        await grant(limited, f"+{command}")
        await work
    assert await was_applied(limited, script)
    assert await everywhere(limited) == LEFT[script]


async def do_anything_harmless(bench: Bench) -> None:
    """Use each script once, so that it is loaded."""
    await bench.queue.exchange([], 0, 1)
    await bench.queue.bury(b"nothing", TAIL, "", b"")
    await bench.queue.park(b"nothing", TAIL, "", due())
    await bench.queue.adopt(Slot(bench.slot.integrator, 8), b"", 1)


async def test_a_right_to_claim_that_is_taken_away_does_not_hold_up_acks(limited: Bench) -> None:
    """LMOVE is refused within the script: the ack is applied, and the CDR stays pending."""
    await lay_out(limited)
    await grant(limited, "-lmove")
    done = await limited.queue.exchange([ack(b"cdr")], 1, PLENTY)
    assert done
    assert (done.acked, done.claimed, bool(done.refusal)) == (1, [], True)
    assert await limited.pending() == [b"new"]


@pytest.mark.parametrize("script", ["exchange", "bury"])
async def test_without_the_right_to_forget_a_record_an_ack_is_applied(limited: Bench, script: str) -> None:
    """HDEL is refused: a record that is left behind costs a few bytes, a CDR that is left behind a delivery."""
    await lay_out(limited)
    await limited.hold_failing(b"cdr")
    await grant(limited, "-hdel")
    await do_anything(limited, script)
    assert await was_applied(limited, script)
    assert await everywhere(limited) == LEFT[script]


async def test_a_bury_that_cannot_undo_itself_is_told_and_applied_later(
    limited: Bench, said: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither LREM nor RPOP: the CDR is in two places then, and in one once both rights are back."""
    monkeypatch.setattr("app.store.client.OPERATOR_PAUSE", 0.05)
    await lay_out(limited)
    await do_anything_harmless(limited)
    await grant(limited, "-lrem")
    await grant(limited, "-rpop")
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(do_anything(limited, "bury"))
        await eventually(lambda: refused(said, "bury"))
        assert (await everywhere(limited))[b"cdr"] >= 1
        await grant(limited, "+lrem")
        await grant(limited, "+rpop")
        await work
    assert await limited.processing() == []
    assert (await everywhere(limited))[b"cdr"] >= 1
