"""What becomes of a CDR that an endpoint does not accept at once: a real Redis, a real receiver."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from app.cdr import History, webhook_id
from app.config.timings import Timings
from app.store.retry_set import read_member
from tests.support.harness import environment, eventually, gone, running, settings_from
from tests.support.http_faults import NO_CONTENT, Behaviour, Connection, serve
from tests.support.receiver import Receiver
from tests.support.world import World

BAD: Final = b"bad"
GOOD: Final = b"good"
OFTEN: Final = {"CDR_WEBHOOK_BREAKER_THRESHOLD": "10000"}  # test_breaker.py is where it opens
BETWEEN_REJECTIONS: Final = 0.4
QUICK: Final = Timings(claim_wait=0.1, between_rejections=BETWEEN_REJECTIONS, least_attempts=3)
HOLD: Final = 1.0


def refuses(*bodies: bytes, status: int) -> Callable[[bytes], int]:
    return lambda body: status if body in bodies else 204


def attempts_at(receiver: Receiver, body: bytes) -> list[int]:
    return [arrival.attempt for arrival in receiver.arrivals if arrival.body == body]


async def letters_in(client: Redis, dead: str) -> list[dict[str, Any]]:
    return [json.loads(letter) for letter in await client.lrange(dead, 0, -1)]


async def history_of(client: Redis, retry: str) -> History | None:
    """Return what the retry set knows of the only CDR in it."""
    members: list[Any] = await client.zrange(retry, 0, -1)
    return read_member(members[0])[0] if members else None


# Rejected


async def test_what_is_rejected_twice_while_others_are_accepted_is_a_dead_letter(world: World) -> None:
    """The first rejection may have been the endpoint's fault; those beside it are delivered meanwhile."""
    world.receiver.judge = refuses(BAD, status=400)
    await world.redis.rpush(world.source, BAD, GOOD)
    async with running(world.settings, QUICK):
        await eventually(lambda: world.redis.exists(world.retry))  # known to be rejected, before another is accepted
        assert world.receiver.refusals[BAD] == 1
        assert await gone(world.redis, world.dead)
        await world.redis.rpush(world.source, "another")
        await eventually(lambda: world.redis.exists(world.dead))
        await eventually(lambda: gone(world.redis, *world.waiting))
    [letter] = await letters_in(world.redis, world.dead)
    assert (letter["id"], letter["endpoint"], letter["cdr"]) == (webhook_id(BAD), "webhook", "bad")
    assert (letter["reason"], letter["status"]) == ("rejected", 400)
    assert letter["attempts"] == world.receiver.refusals[BAD] >= 2
    first, *_, last = _arrivals(world.receiver, BAD)
    assert last.at - first.at >= BETWEEN_REJECTIONS - 0.05
    assert world.receiver.bodies == {GOOD: 1, b"another": 1}


async def test_what_is_rejected_while_nothing_else_is_accepted_stays(world: World) -> None:
    """However often: a wrong secret, or a bad deploy, burns nothing."""
    bad = [b"bad %d" % number for number in range(20)]
    world.receiver.status = 400
    await world.redis.rpush(world.source, *bad)
    async with running(settings_from(world.variables | OFTEN), QUICK):
        await eventually(lambda: all(world.receiver.refusals[body] >= 3 for body in bad))
        assert await gone(world.redis, world.dead)
        world.receiver.status = 204
        await eventually(lambda: gone(world.redis, *world.waiting))
    assert world.receiver.bodies == Counter(bad)
    assert await gone(world.redis, world.dead)


async def test_a_rejection_after_failures_tells_all_attempts(world: World) -> None:
    """Deferred, then rejected: the letter goes on counting, from the first failure."""
    world.receiver.judge = refuses(BAD, status=500)
    await world.redis.rpush(world.source, BAD)
    async with running(settings_from(world.variables | OFTEN), QUICK):
        await eventually(lambda: len(world.receiver.arrivals) >= 2)
        deferred = await eventually(lambda: history_of(world.redis, world.retry))
        world.receiver.judge = refuses(BAD, status=422)
        for number in range(100):
            if await world.redis.exists(world.dead):
                break
            await world.redis.rpush(world.source, f"good {number}")
            await eventually(lambda: gone(world.redis, world.source))
        await eventually(lambda: world.redis.exists(world.dead))
        await eventually(lambda: gone(world.redis, *world.waiting))
    [letter] = await letters_in(world.redis, world.dead)
    assert (letter["reason"], letter["status"], letter["attempts"]) == ("rejected", 422, world.receiver.refusals[BAD])
    assert letter["first_failed_at"].startswith(_iso(deferred.first_failed_at))


def _iso(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds / 1000))


# Failed, and accepted later


async def test_what_fails_is_tried_again_until_it_is_accepted(world: World) -> None:
    """One attempt each time, webhook-attempt goes on, and nothing is left of it."""
    world.receiver.judge = lambda _: 500 if len(world.receiver.arrivals) < 4 else 204
    await world.redis.rpush(world.source, GOOD)
    async with running(world.settings, QUICK):
        await eventually(lambda: world.receiver.bodies[GOOD])
        await eventually(lambda: gone(world.redis, *world.waiting))
    assert attempts_at(world.receiver, GOOD) == [1, 2, 3, 4, 5]
    assert world.receiver.bodies == {GOOD: 1}
    assert await gone(world.redis, world.dead)


async def test_what_fails_is_deferred(world: World) -> None:
    """It leaves the processing list, and its member says how often it was tried and when."""
    world.receiver.status = 500
    await world.redis.rpush(world.source, BAD)
    patient = {"CDR_WEBHOOK_BACKOFF": "600", "CDR_WEBHOOK_BACKOFF_MAX": "600"}
    async with running(settings_from(world.variables | patient)):
        history = await eventually(lambda: history_of(world.redis, world.retry))
        assert await gone(world.redis, world.source, world.processing)
    assert (history.attempts, history.strikes, history.last_result, history.replayed) == (1, 0, "http_5xx", False)
    assert abs(history.first_failed_at / 1000 - time.time()) < 5


async def test_a_cdr_that_fails_for_its_own_fault_waits_longer_each_time(world: World) -> None:
    """Strikes double the longest pause, which is drawn: so the average of many grows."""
    bad = [b"bad %d" % number for number in range(40)]
    world.receiver.judge = refuses(*bad, status=500)
    await world.redis.rpush(world.source, *bad)
    growing = {"CDR_WEBHOOK_BACKOFF": "0.05", "CDR_WEBHOOK_BACKOFF_MAX": "60"}
    async with running(
        settings_from(world.variables | OFTEN | growing), Timings(between_rejections=0.1, claim_wait=0.1)
    ):
        number = 0
        while not all(world.receiver.refusals[body] >= 6 for body in bad):
            number += 1
            await world.redis.rpush(world.source, f"good {number}")
            await eventually(lambda number=number: world.receiver.bodies[f"good {number}".encode()])  # type: ignore[misc]
    waits = [[later.at - earlier.at for earlier, later in pairwise(_arrivals(world.receiver, body))] for body in bad]
    second, fifth = (sum(one[index] for one in waits) / len(waits) for index in (1, 4))
    assert fifth > 2 * second


def _arrivals(receiver: Receiver, body: bytes) -> list[Any]:
    return [arrival for arrival in receiver.arrivals if arrival.body == body]


# Given up


async def test_a_cdr_is_given_up_once_the_endpoint_has_accepted_others(world: World) -> None:
    """CDR_GIVE_UP_AFTER alone is not enough: before, nobody could tell a bad CDR from a bad endpoint."""
    world.receiver.judge = refuses(BAD, status=500)
    await world.redis.rpush(world.source, BAD)
    async with running(settings_from(world.variables | OFTEN | {"CDR_GIVE_UP_AFTER": "0.01"}), QUICK):
        await eventually(lambda: len(world.receiver.arrivals) == 4)
        assert await gone(world.redis, world.dead)
        number = 0
        while not await world.redis.exists(world.dead):
            number += 1
            await world.redis.rpush(world.source, f"good {number}")
            await eventually(lambda number=number: world.receiver.bodies[f"good {number}".encode()])  # type: ignore[misc]
        await eventually(lambda: gone(world.redis, *world.waiting))
    [letter] = await letters_in(world.redis, world.dead)
    assert (letter["id"], letter["reason"], letter["status"]) == (webhook_id(BAD), "gave_up", 500)
    assert letter["attempts"] == len(attempts_at(world.receiver, BAD)) >= 5
    assert letter["first_failed_at"] < letter["dead_at"]


async def test_a_total_outage_dead_letters_nothing(world: World) -> None:
    """However long nothing is accepted; when the endpoint is well again, all are delivered."""
    pushed = [b"cdr %d" % number for number in range(20)]
    world.receiver.status = 503
    await world.redis.rpush(world.source, *pushed)
    async with running(settings_from(world.variables | OFTEN | {"CDR_GIVE_UP_AFTER": "0.01"}), QUICK):
        await eventually(lambda: all(len(attempts_at(world.receiver, body)) >= 4 for body in pushed))
        world.receiver.status = 204
        await eventually(lambda: gone(world.redis, *world.waiting))
    assert world.receiver.bodies == Counter(pushed)
    assert await gone(world.redis, world.dead)


async def test_nothing_is_given_up_when_that_is_switched_off(world: World) -> None:
    """CDR_GIVE_UP_AFTER=0: a bad one is tried on beside those that are accepted."""
    world.receiver.judge = refuses(BAD, status=500)
    await world.redis.rpush(world.source, BAD)
    async with running(settings_from(world.variables | OFTEN | {"CDR_GIVE_UP_AFTER": "0"}), QUICK):
        for number in range(8):
            await world.redis.rpush(world.source, f"good {number}")
            await eventually(lambda number=number: len(attempts_at(world.receiver, BAD)) >= number + 1)  # type: ignore[misc]
    assert await gone(world.redis, world.dead)


# Side by side


async def test_deferred_cdrs_do_not_starve_new_ones(world: World) -> None:
    """More bad ones than workers, due all the time: new ones go through."""
    bad = [b"bad %d" % number for number in range(40)]
    good = [b"good %d" % number for number in range(200)]
    world.receiver.judge = refuses(*bad, status=500)
    await world.redis.rpush(world.source, *bad)
    async with running(settings_from(world.variables | OFTEN | {"CDR_WEBHOOK_CONCURRENCY": "8"}), QUICK):
        await eventually(lambda: world.receiver.refusals.total() >= 2 * len(bad))
        await world.redis.rpush(world.source, *good)
        await eventually(lambda: world.receiver.bodies.keys() == set(good))
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == Counter(good)


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
async def test_retry_after_holds_the_whole_lane_and_then_it_goes_on(concurrency: int, world: World) -> None:
    """Nothing is sent meanwhile, neither what was refused nor what is new; then all is delivered."""
    pushed = [b"cdr %d" % number for number in range(30)]
    arrived_at: list[float] = []
    await world.redis.rpush(world.source, *pushed)
    async with serve(asks_for_a_pause(concurrency, arrived_at)) as server:
        variables = environment(world.server.url, server.url, world.integrator, webhook_concurrency=str(concurrency))
        async with running(settings_from(variables)):
            await eventually(lambda: gone(world.redis, *world.waiting))
    refused, taken = arrived_at[:concurrency], arrived_at[concurrency:]
    assert len(taken) == len(pushed)
    assert taken[0] - refused[0] >= HOLD
    assert Counter(request.partition(b"\r\n\r\n")[2] for request in server.requests[concurrency:]) == Counter(pushed)


async def test_a_stop_during_a_hold_posts_nothing_and_gives_back_all(world: World) -> None:
    """It does not wait for its end either."""
    arrived_at: list[float] = []
    await world.redis.rpush(world.source, *(f"cdr {number}" for number in range(30)))
    async with serve(asks_for_a_pause(1000, arrived_at)) as server:
        variables = environment(world.server.url, server.url, world.integrator, webhook_concurrency="2")
        async with running(settings_from(variables)):
            await eventually(lambda: world.redis.exists(world.retry))
        posts = len(arrived_at)
    assert posts <= 2
    assert await world.redis.llen(world.source) + await world.redis.zcard(world.retry) == 30
    assert await gone(world.redis, world.processing)
