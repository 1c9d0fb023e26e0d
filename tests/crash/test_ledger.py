"""What a crash run calls lost, and what it does not."""

import json
from collections import Counter

import pytest
from redis.asyncio import Redis

from tests.crash.ledger import Account, dead_in, deferred_in, left_in, lists_of, retry_sets_of


def account(
    *,
    pushed: list[bytes],
    taken: list[bytes] | None = None,
    dead: list[bytes] | None = None,
    deferred: list[bytes] | None = None,
    unsure: list[bytes] | None = None,
) -> Account:
    return Account("e0", Counter(pushed), Counter(unsure), Counter(taken), Counter(dead), Counter(deferred))


@pytest.mark.parametrize(
    ("given", "lost", "duplicates", "wrongly_dead"),
    [
        (account(pushed=[b"a"], taken=[b"a"]), 0, 0, 0),
        (account(pushed=[b"a", b"b"], taken=[b"a"]), 1, 0, 0),
        (account(pushed=[b"twin", b"twin"], taken=[b"twin"]), 1, 0, 0),
        (account(pushed=[b"a"], taken=[b"a", b"a"]), 0, 1, 0),
        (account(pushed=[b"a"], deferred=[b"a"]), 0, 0, 0),
        (account(pushed=[b"poison 1"], dead=[b"poison 1"]), 0, 0, 0),
        (account(pushed=[b"a"], dead=[b"a"]), 0, 0, 1),
        (account(pushed=[], unsure=[b"a"], taken=[b"a"]), 0, 0, 0),
        (account(pushed=[], unsure=[b"a"]), 0, 0, 0),
    ],
)
def test_each_payload_must_be_somewhere_as_often_as_it_was_pushed(
    given: Account, lost: int, duplicates: int, wrongly_dead: int
) -> None:
    """Taken, dead or deferred is not lost; twins are counted each; a dead letter must be poison."""
    assert (given.lost.total(), given.duplicates.total(), len(given.wrongly_dead)) == (lost, duplicates, wrongly_dead)
    assert given.is_right == (not lost and not wrongly_dead)


async def test_deferred_and_dead_cdrs_are_read_from_redis(client: Redis, integrator: str) -> None:
    """The header of a deferred CDR is not part of it; one without header is a CDR as a whole."""
    retry, retrying = retry_sets_of(integrator)
    await client.zadd(retry, {b"cdr1 token-1 1 0 1 0 1 500 0 0\ntwin": 1, b"cdr1 token-2 1 0 1 0 1 500 0 0\ntwin": 1})
    await client.zadd(retrying, {b"by\nhand": 1})
    await client.rpush(f"{integrator}:dead:cdr", json.dumps({"cdr": "poison 1"}))

    assert await deferred_in(client, integrator) == {b"twin": 2, b"by\nhand": 1}
    assert await dead_in(client, integrator) == {b"poison 1": 1}


async def test_what_is_left_behind_is_named(client: Redis, integrator: str) -> None:
    """A list of any slot and a sorted set are shown with how much they hold."""
    slot = f"{integrator}:processing:cdr:64"
    await client.rpush(slot, "cdr")
    await client.zadd(f"{integrator}:retry:cdr", {"cdr": 1})

    left = await left_in(client, [*lists_of(integrator), *retry_sets_of(integrator)])

    assert left == {slot: 1, f"{integrator}:retry:cdr": 1}
