"""What somebody else, an older edition or a damaged clock may have left in Redis under our names."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest
from redis.asyncio import Redis

from tests.support.forwarder import all_arrive, is_up, numbered
from tests.support.harness import eventually, gone
from tests.support.pace import clock, until
from tests.support.world import DefaultWorld

MOST_SLOTS: Final = 64
YEAR_9999: Final = 253_370_764_800_000
"""In milliseconds."""

Put = Callable[[Redis, str], Awaitable[object]]
"""Leaves something in Redis under the prefix of an integrator."""


@dataclass(frozen=True)
class Odd:
    """What stands in Redis before the start, and the bodies that must arrive although it does."""

    name: str
    put: Put
    bodies: list[bytes] = field(default_factory=list)
    within: float = 20.0


@pytest.fixture
def world(default_world: DefaultWorld) -> DefaultWorld:
    return default_world


def member(header: bytes, body: bytes) -> bytes:
    return header + b"\n" + body


def digits(number: int) -> bytes:
    """Return a header of the retry set in which each field has this many digits."""
    return b"cdr1 " + b" ".join([b"9" * number] * 12)


MEMBERS: Final[Mapping[bytes, bytes]] = {
    member(digits(4300), b"4300 digits"): b"4300 digits",
    member(digits(4301), b"4301 digits"): b"4301 digits",
    member(digits(20), b"20 digits"): b"20 digits",
    member(b"cdr1 a b c d e f g h i j k l", b"no numbers"): b"no numbers",
    member(b"cdr1 token 1", b"too few fields"): b"too few fields",
    member(b"cdr1 " + b"1 " * 500, b"too many fields"): b"too many fields",
    member(b"cdr1 token -1 -1 -1 -1 -1 -1 -1 -1", b"negative"): b"negative",
    member(b"cdr1 token 1e300 nan inf 0x1 1_0 1.5 1 1", b"not decimal"): b"not decimal",
    member(b"cdr1 \xff\xfe \x00 \r", b"not UTF-8 \xff"): b"not UTF-8 \xff",
    member(b"cdr1 ", b"no fields"): b"no fields",
    member(b"cdr1 ", b"two\nlines\n"): b"two\nlines\n",
    member(b"another header", b"a CDR as a whole"): b"another header\na CDR as a whole",
    b"no newline": b"no newline",
    b"cdr1 without newline": b"cdr1 without newline",
    b"\xff\xfe\x00": b"\xff\xfe\x00",
}
"""Members of the retry set, and the CDR that each is."""

OWNERS: Final[Mapping[str, bytes]] = {
    "endpoints is a number": b'{"id": "x", "endpoints": 5}',
    "endpoints is an object": b'{"id": "x", "endpoints": {"webhook": {"url": []}}}',
    "endpoints holds numbers": b'{"id": "x", "endpoints": [1, null, ["webhook"]]}',
    "everything is null": b'{"id": null, "source": null, "endpoints": null}',
    "a list": b"[1, 2, 3]",
    "a huge number": b'{"id": ' + b"9" * 5000 + b"}",
    "nested JSON": b"[" * 100_000,
    "nested objects": b'{"id":' * 50_000 + b"1" + b"}" * 50_000,
    "huge JSON": b'{"id": "' + b"x" * 4_000_000 + b'"}',
    "not JSON": b"somebody",
    "not UTF-8": b"\xff\xfe",
    "empty": b"",
}


def left_in(place: str, *scores_of: tuple[bytes, float]) -> Put:
    """Put members with scores into a sorted set of ours."""
    return lambda client, integrator: client.zadd(f"{integrator}:{place}:cdr", dict(scores_of))


def owned_by(value: bytes) -> Put:
    """Give slot 1 a live owner with this value."""
    return lambda client, integrator: client.set(f"{integrator}:processing:cdr:owner", value, px=60_000)


def operations(value: str) -> Put:
    """Fill the hash of sequence numbers of slot 1."""
    pairs = [word for number in range(32) for word in (str(number), value)]
    return lambda client, integrator: client.hset(f"{integrator}:processing:cdr:ops", "owner", value, items=pairs)


async def keys_that_are_not_utf_8(client: Redis, integrator: str) -> None:
    prefix = integrator.encode()
    await client.rpush(prefix + b":\xff\xfe:pending:cdr", "x")
    await client.rpush(prefix + b":\xc3\x28:processing:cdr", "x")
    await client.rpush(prefix + b":\xff:dead:cdr", "x")
    await client.set(prefix + b":processing:cdr:\xff", "x")
    await client.set(prefix + b":\xff", "x")
    await client.zadd(prefix + b":\xff:retry:cdr", {"x": 1})


async def an_owner_without_ttl(client: Redis, integrator: str) -> None:
    await client.set(f"{integrator}:processing:cdr:owner", b'{"id": "gone", "endpoints": ["webhook"]}')
    await client.rpush(f"{integrator}:processing:cdr", "orphan")


async def all_owners_without_ttl(client: Redis, integrator: str) -> None:
    for slot in ("", *(f":{number}" for number in range(2, MOST_SLOTS + 1))):
        await client.set(f"{integrator}:processing:cdr{slot}:owner", b'{"id": "gone", "endpoints": ["webhook"]}')


def places(integrator: str) -> list[str]:
    """Return the keys in which a CDR that was not acked would be."""
    numbers = ["", *(f":{number}" for number in range(2, MOST_SLOTS + 1))]
    lists = [f"{integrator}:processing:cdr{number}" for number in numbers]
    return [*lists, f"{integrator}:retry:cdr", f"{integrator}:retrying:cdr"]


def hours_ahead(hours: float) -> float:
    return (time.time() + hours * 3600) * 1000


QUICK: Final = [
    Odd("keys that are not UTF-8", keys_that_are_not_utf_8),
    *(Odd(f"owner: {name}", owned_by(value)) for name, value in OWNERS.items()),
    Odd("members of the retry set", left_in("retry", *((one, 1.0) for one in MEMBERS)), [*MEMBERS.values()]),
    Odd("members handed out", left_in("retrying", *((one, 1.0) for one in MEMBERS)), [*MEMBERS.values()]),
    *(Odd(f"sequence numbers: {value}", operations(value)) for value in ("1e300", "abc", "-1", "")),
    Odd("sequence numbers of 5,000 digits", operations("9" * 5000)),
    Odd("due in the year 9999", left_in("retry", (b"cdr1 t\nlate", YEAR_9999)), [b"late"]),
    Odd("due never", left_in("retry", (b"cdr1 t\nnever", float("inf"))), [b"never"]),
    Odd("due for ever", left_in("retry", (b"cdr1 t\never", float("-inf"))), [b"ever"]),
    Odd("handed out until the year 9999", left_in("retrying", (b"cdr1 t\nout", YEAR_9999)), [b"out"]),
    Odd("a clock set back by five hours", left_in("retry", (b"cdr1 t\nahead", hours_ahead(5))), [b"ahead"]),
]

SLOW: Final = [
    Odd("an owner without TTL, and its CDR", an_owner_without_ttl, [b"orphan"], within=60),
    Odd("64 owners without TTL", all_owners_without_ttl, within=60),
]


async def _both_arrive(odd: Odd, world: DefaultWorld) -> None:
    """Start with the odd content; it, and a fresh CDR, arrive as they are, and the process stays up."""
    await odd.put(world.redis, world.integrator)
    forwarder = await world.start()
    await world.redis.rpush(world.source, "fresh")
    await all_arrive(world.receiver, [b"fresh", *odd.bodies], within=odd.within)
    await world.redis.rpush(world.source, "another")
    await all_arrive(world.receiver, [b"another"], within=5)
    await eventually(lambda: gone(world.redis, world.source, *places(world.integrator)))
    assert set(world.receiver.arrived) == {b"fresh", b"another", *odd.bodies}
    assert max(world.receiver.arrived.values()) <= 2
    assert is_up(forwarder)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("odd", QUICK, ids=lambda odd: odd.name)
async def test_odd_content_neither_crashes_nor_spins(odd: Odd, world: DefaultWorld) -> None:
    """It is there before the start: all CDRs in it arrive within 20 s, byte for byte, each once or twice."""
    await _both_arrive(odd, world)


@pytest.mark.slow
@pytest.mark.timeout(110)
@pytest.mark.parametrize("odd", SLOW, ids=lambda odd: odd.name)
async def test_an_owner_key_without_a_ttl_is_cut_to_its_lease(odd: Odd, world: DefaultWorld) -> None:
    """Its list is taken over within a minute, as if the owner had died just now."""
    await _both_arrive(odd, world)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("value", ["1e300", "abc"])
async def test_sequence_numbers_that_change_at_run_time_make_nothing_spin(value: str, world: DefaultWorld) -> None:
    """Each operation looks as if it had been applied, or cannot be compared: CDRs arrive, once or twice."""
    forwarder = await world.start(slot=1)
    await world.redis.rpush(world.source, *numbered("before", 20))
    await all_arrive(world.receiver, numbered("before", 20), within=10)
    fields = await world.redis.hkeys(f"{world.processing}:ops")
    assert fields
    await world.redis.hset(f"{world.processing}:ops", items=[word for field in fields for word in (field, value)])
    cdrs, changed_at = numbered("after", 100), clock()
    await world.redis.rpush(world.source, *cdrs)
    await all_arrive(world.receiver, cdrs, within=20)
    await until(changed_at + 15)
    assert max(world.receiver.arrived.values()) <= 2
    assert is_up(forwarder)
