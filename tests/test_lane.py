"""What becomes of a CDR that an endpoint does not take at once: a real Redis, a real receiver."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import pytest
from app.lane.parking import FailingRecord
from redis.asyncio import Redis

from app.cdr import webhook_id
from app.demo.embedded import EmbeddedRedis
from tests.harness import environment, eventually, gone, running, settings_from
from tests.http_faults import NO_CONTENT, Behaviour, Connection, serve
from tests.receiver import Receiver

BAD: Final = b"bad"
GOOD: Final = b"good"
OFTEN: Final = {
    "CDR_SWEEP_INTERVAL": "0.1",
    "CDR_WEBHOOK_ATTEMPTS": "1",
    "CDR_WEBHOOK_BREAKER_THRESHOLD": "10000",  # test_breaker.py is where it opens
}
HOLD: Final = 1.0


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep waits for the claim that waits in Redis: here, not for long."""
    monkeypatch.setattr("app.store.queue.WAIT", 0.1)


@pytest.fixture
def failing(integrator: str) -> str:
    return f"{integrator}:failing:cdr"


def refuses(*bodies: bytes, status: int) -> Callable[[bytes], int]:
    return lambda body: status if body in bodies else 204


def attempts_at(receiver: Receiver, body: bytes) -> list[int]:
    return [arrival.attempt for arrival in receiver.arrivals if arrival.body == body]


async def letters_in(client: Redis, dead: str) -> list[dict[str, Any]]:
    return [json.loads(letter) for letter in await client.lrange(dead, 0, -1)]


async def record_of(client: Redis, failing: str, body: bytes) -> FailingRecord | None:
    stored: Any = await client.hget(failing, webhook_id(body))
    return FailingRecord.from_json(stored) if stored else None


# Rejected


async def test_what_the_endpoint_will_never_take_is_a_dead_letter(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, dead: str
) -> None:
    """After one attempt: 400 is not cured by trying again; those beside it are delivered."""
    receiver.judge = refuses(BAD, status=400)
    await client.rpush(source, BAD, GOOD)
    async with running(settings_from(variables)):
        await eventually(lambda: gone(client, source, processing))
    [letter] = await letters_in(client, dead)
    assert (letter["id"], letter["endpoint"], letter["cdr"]) == (webhook_id(BAD), "webhook", "bad")
    assert (letter["reason"], letter["status"], letter["attempts"]) == ("rejected", 400, 1)
    assert (receiver.bodies, receiver.refusals) == ({GOOD: 1}, {BAD: 1})


async def test_a_rejection_after_failures_tells_all_attempts(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, dead: str, failing: str
) -> None:
    """EXHAUSTED and parked, then rejected: the letter goes on counting, and the failing record goes with it."""
    receiver.status = 500
    await client.rpush(source, BAD)
    async with running(settings_from(variables | OFTEN)):
        await eventually(lambda: len(receiver.arrivals) >= 2)
        parked = await eventually(lambda: record_of(client, failing, BAD))
        receiver.status = 422
        await eventually(lambda: gone(client, source, processing))
    [letter] = await letters_in(client, dead)
    assert (letter["reason"], letter["status"], letter["attempts"]) == ("rejected", 422, len(receiver.arrivals))
    assert letter["first_failed_at"] == parked.first_failed_at.isoformat()
    assert not await client.exists(failing)


# Failed, and taken later


async def test_what_fails_and_is_then_taken_is_delivered(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, dead: str, failing: str
) -> None:
    """Within its attempts, nothing is written down of it."""
    receiver.judge = lambda _: 500 if len(receiver.arrivals) < 2 else 204
    await client.rpush(source, GOOD)
    async with running(settings_from(variables)):
        await eventually(lambda: gone(client, source, processing))
    assert attempts_at(receiver, GOOD) == [1, 2, 3]
    assert await gone(client, failing, dead)


async def test_what_is_exhausted_is_parked(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, failing: str
) -> None:
    """It stays in processing, and its record says how often it was tried and when it is its turn again."""
    receiver.status = 500
    await client.rpush(source, BAD)
    patient = variables | {"CDR_SWEEP_INTERVAL": "60", "CDR_WEBHOOK_ATTEMPTS": "3"}
    async with running(settings_from(patient)):
        record = await eventually(lambda: record_of(client, failing, BAD))
        assert await client.lrange(processing, 0, -1) == [BAD]
    assert attempts_at(receiver, BAD) == [1, 2, 3]
    assert record.attempts == 3
    assert (record.next_try - record.first_failed_at).total_seconds() == pytest.approx(60, abs=5)


async def test_what_is_parked_is_tried_again_until_it_is_taken(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, dead: str, failing: str
) -> None:
    """One attempt each time, webhook-attempt goes on, and the failing record is gone with the ack."""
    receiver.judge = lambda _: 500 if len(receiver.arrivals) < 4 else 204
    await client.rpush(source, GOOD)
    often = variables | {"CDR_SWEEP_INTERVAL": "0.1", "CDR_WEBHOOK_ATTEMPTS": "2"}
    async with running(settings_from(often)):
        await eventually(lambda: gone(client, source, processing))
    assert attempts_at(receiver, GOOD) == [1, 2, 3, 4, 5]
    assert receiver.bodies == {GOOD: 1}
    assert await gone(client, failing, dead)


async def test_a_parked_cdr_waits_longer_each_time(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str
) -> None:
    """It is never tried before its next_try, which doubles."""
    receiver.status = 500
    await client.rpush(source, BAD)
    async with running(settings_from(variables | OFTEN)):
        await eventually(lambda: len(receiver.arrivals) == 5)
    waits = [later.at - earlier.at for earlier, later in pairwise(receiver.arrivals)]
    assert all(wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4, 0.8), strict=True))


# Given up


async def test_a_cdr_is_given_up_once_the_endpoint_has_taken_another(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, dead: str, failing: str
) -> None:
    """CDR_GIVE_UP_AFTER alone is not enough: before, nobody could tell a bad CDR from a bad endpoint."""
    receiver.judge = refuses(BAD, status=500)
    await client.rpush(source, BAD)
    async with running(settings_from(variables | OFTEN | {"CDR_GIVE_UP_AFTER": "0.01"})):
        await eventually(lambda: len(receiver.arrivals) == 3)
        assert await gone(client, dead)
        await client.rpush(source, GOOD)
        await eventually(lambda: client.exists(dead))
        await eventually(lambda: gone(client, source, processing))
    [letter] = await letters_in(client, dead)
    assert (letter["id"], letter["reason"], letter["status"]) == (webhook_id(BAD), "gave_up", 500)
    assert letter["attempts"] == len(attempts_at(receiver, BAD)) >= 4
    assert letter["first_failed_at"] < letter["dead_at"]
    assert await gone(client, failing)


async def test_a_total_outage_dead_letters_nothing(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, dead: str, failing: str
) -> None:
    """However long nothing is taken; when the endpoint is well again, all are delivered."""
    pushed = [b"cdr %d" % number for number in range(20)]
    receiver.status = 503
    await client.rpush(source, *pushed)
    async with running(settings_from(variables | OFTEN | {"CDR_GIVE_UP_AFTER": "0.01"})):
        await eventually(lambda: all(len(attempts_at(receiver, body)) >= 3 for body in pushed))
        assert await client.llen(processing) == len(pushed)
        receiver.status = 204
        await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == Counter(pushed)
    assert await gone(client, failing, dead)


async def test_nothing_is_given_up_when_that_is_switched_off(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, dead: str
) -> None:
    """CDR_GIVE_UP_AFTER=0: a bad one is tried on beside those that are taken."""
    receiver.judge = refuses(BAD, status=500)
    await client.rpush(source, BAD, GOOD)
    async with running(settings_from(variables | OFTEN | {"CDR_GIVE_UP_AFTER": "0"})):
        await eventually(lambda: len(attempts_at(receiver, BAD)) == 4)
        await eventually(lambda: receiver.bodies[GOOD])
        assert await client.lrange(processing, 0, -1) == [BAD]
    assert await gone(client, dead)


# Side by side


async def test_parked_cdrs_do_not_starve_new_ones(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """More bad ones than slots, due all the time: new ones go through."""
    bad = [b"bad %d" % number for number in range(40)]
    good = [b"good %d" % number for number in range(200)]
    receiver.judge = refuses(*bad, status=500)
    await client.rpush(source, *bad)
    async with running(settings_from(variables | OFTEN | {"CDR_WEBHOOK_CONCURRENCY": "8"})):
        await eventually(lambda: receiver.refusals.total() >= 2 * len(bad))
        await client.rpush(source, *good)
        await eventually(lambda: receiver.bodies.keys() == set(good))
        await eventually(lambda: gone(client, source))
        await eventually(lambda: length_is(client, processing, len(bad)))
    assert receiver.bodies == Counter(good)


async def length_is(client: Redis, key: str, length: int) -> bool:
    return int(await client.llen(key)) == length


# Held


def asks_for_a_pause(times: int, arrived_at: list[float]) -> Behaviour:
    """Answer the first requests 429 with Retry-After, all later ones 204; note when each came."""

    async def behave(connection: Connection) -> None:
        while True:
            await connection.request()
            arrived_at.append(asyncio.get_running_loop().time())
            busy = b"HTTP/1.1 429 Slow\r\nretry-after: %d\r\ncontent-length: 0\r\n\r\n" % HOLD
            await connection.send(busy if len(arrived_at) <= times else NO_CONTENT)

    return behave


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_retry_after_holds_the_whole_lane_and_then_it_goes_on(
    concurrency: int,
    client: Redis,
    redis_server: EmbeddedRedis,
    integrator: str,
    source: str,
    processing: str,
    failing: str,
) -> None:
    """Nothing is sent meanwhile, neither what was refused nor what is new; then all is delivered."""
    pushed = [b"cdr %d" % number for number in range(30)]
    arrived_at: list[float] = []
    await client.rpush(source, *pushed)
    async with serve(asks_for_a_pause(concurrency, arrived_at)) as server:
        variables = environment(redis_server.url, server.url, integrator, webhook_concurrency=str(concurrency))
        async with running(settings_from(variables)):
            await eventually(lambda: gone(client, source, processing))
    refused, taken = arrived_at[:concurrency], arrived_at[concurrency:]
    assert len(taken) == len(pushed)
    assert taken[0] - refused[0] >= HOLD
    assert Counter(request.partition(b"\r\n\r\n")[2] for request in server.requests[concurrency:]) == Counter(pushed)
    assert await gone(client, failing)


async def test_a_held_cdr_is_the_first_to_be_tried_again(
    client: Redis, redis_server: EmbeddedRedis, integrator: str, source: str, processing: str
) -> None:
    """It was the oldest; it does not wait for the next sweep that would be due by the clock."""
    arrived_at: list[float] = []
    await client.rpush(source, b"first", b"second")
    async with serve(asks_for_a_pause(1, arrived_at)) as server:
        variables = environment(
            redis_server.url, server.url, integrator, webhook_concurrency="1", sweep_interval="3600"
        )
        async with running(settings_from(variables)):
            await eventually(lambda: gone(client, source, processing))
    sent = [request.partition(b"\r\n\r\n")[2] for request in server.requests]
    assert sent == [b"first", b"first", b"second"]
