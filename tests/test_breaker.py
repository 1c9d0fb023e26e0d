"""An endpoint that is down is left alone, and found again: a real Redis, a real receiver."""

import asyncio
import time
from collections import Counter
from typing import Final

import pytest
from app.lane.parking import FailingRecord, now
from redis.asyncio import Redis

from app.cdr import Cdr
from app.delivery.breaker import FIRST_PAUSE, GONE_PAUSE, LONGEST_PAUSE, Breaker
from app.delivery.verdict import Kind, Verdict
from app.service import Service
from tests.conftest import StartChild
from tests.harness import eventually, gone, running, settings_from
from tests.receiver import Receiver
from tests.test_events import lines_of, stopped

PUSHED: Final = [b"cdr %d" % number for number in range(100)]
DOWN: Final = Verdict(Kind.TRANSIENT, "http_5xx", 503)
NO: Final = Verdict(Kind.REJECTED, "http_4xx", 400)
GONE: Final = Verdict(Kind.TRANSIENT, "http_4xx", 410)
CONCURRENCY: Final = 16


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.queue.WAIT", 0.1)
    monkeypatch.setattr("app.delivery.breaker.FIRST_PAUSE", 0.05)
    monkeypatch.setattr("app.delivery.breaker.LONGEST_PAUSE", 0.1)
    monkeypatch.setattr("app.delivery.breaker.GONE_PAUSE", 0.1)


@pytest.fixture
def variables(variables: dict[str, str]) -> dict[str, str]:
    return variables | {"CDR_WEBHOOK_CONCURRENCY": str(CONCURRENCY), "CDR_SWEEP_INTERVAL": "0.2"}


def fresh() -> Cdr:
    return Cdr(b"", attempts=1)


def breaker_of(service: Service) -> Breaker:
    [lane] = service._lanes
    return lane.breaker


def is_open(service: Service) -> bool:
    return bool(service._lanes) and breaker_of(service).is_open


def opened(threshold: int = 1) -> Breaker:
    breaker = Breaker("webhook", threshold)
    for _ in range(threshold):
        breaker.failed(fresh(), time.monotonic(), DOWN)
    return breaker


# How it counts


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    """Of different CDRs; a 2xx between begins the row anew."""
    breaker = opened(3)
    assert breaker.is_open
    breaker = Breaker("webhook", 3)
    for verdict in (DOWN, NO):
        breaker.failed(fresh(), time.monotonic(), verdict)
    breaker.taken()
    for verdict in (DOWN, NO):
        breaker.failed(fresh(), time.monotonic(), verdict)
    assert not breaker.is_open


def test_what_failed_before_says_nothing_new() -> None:
    """A few poison CDRs, tried again and again, never open it; one that is rejected at last is another one."""
    breaker = Breaker("webhook", 2)
    poison = Cdr(b"", failing=FailingRecord(now(), 5, now()), attempts=6)
    second = Cdr(b"", attempts=2)
    for cdr in (poison, second) * 5:
        breaker.failed(cdr, time.monotonic(), DOWN)
    assert not breaker.is_open
    breaker.failed(poison, time.monotonic(), NO)
    breaker.failed(fresh(), time.monotonic(), NO)
    assert breaker.is_open


def test_an_attempt_from_before_the_last_2xx_does_not_count() -> None:
    """When an endpoint comes back, what timed out meanwhile is still on its way to us."""
    breaker = Breaker("webhook", 1)
    began = time.monotonic()
    breaker.taken()
    breaker.failed(fresh(), began, DOWN)
    assert not breaker.is_open


def test_probes_are_further_and_further_apart() -> None:
    """From a second to a minute; one at a time, and nothing else is let through."""
    breaker, pauses = opened(), []
    for _ in range(8):
        pauses.append(round(breaker.probe_at - time.monotonic()))
        breaker.probe_at = 0.0
        assert breaker.probe_is_due
        probe = fresh()
        breaker.probe_with(probe)
        assert not breaker.probe_is_due
        assert (breaker.admits(probe), breaker.admits(fresh())) == (True, False)
        breaker.failed(probe, time.monotonic(), DOWN)
    assert pauses == [FIRST_PAUSE, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE]
    breaker.taken()
    assert breaker.admits(fresh())


def test_an_endpoint_that_is_gone_is_asked_every_hour() -> None:
    """410 opens at once, whatever the threshold."""
    breaker = Breaker("webhook", 100)
    breaker.failed(fresh(), time.monotonic(), GONE)
    assert round(breaker.probe_at - time.monotonic()) == GONE_PAUSE


# What it does


async def test_an_endpoint_that_is_down_is_left_alone_and_found_again(
    short_waits: None, client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """Probes one at a time, and most CDRs wait in their list; then all come, each once."""
    receiver.status = 503
    await client.rpush(source, *PUSHED)
    async with running(settings_from(variables)) as service:
        await eventually(lambda: is_open(service))
        await eventually(lambda: service._lanes[0].in_flight.number == 0)
        before = len(receiver.arrivals)
        most = 0

        async def probed() -> bool:
            nonlocal most
            most = max(most, service._lanes[0].in_flight.number)
            return len(receiver.arrivals) >= before + 5

        await eventually(probed)
        assert most <= 1
        assert await client.llen(source) > len(PUSHED) - 3 * CONCURRENCY
        receiver.status = 204
        await eventually(lambda: gone(client, source, processing))
        assert not is_open(service)
    assert receiver.bodies == Counter(PUSHED)


async def test_what_waited_meanwhile_comes_oldest_first(
    short_waits: None, client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """One at a time, so that the order in which they come is the one in which they were claimed."""
    receiver.status = 503
    await client.rpush(source, *PUSHED)
    alone = {"CDR_WEBHOOK_CONCURRENCY": "1", "CDR_WEBHOOK_BREAKER_THRESHOLD": "1"}
    async with running(settings_from(variables | alone)) as service:
        await eventually(lambda: is_open(service))
        await eventually(lambda: len(receiver.refusals) >= 4)
        receiver.status = 204
        await eventually(lambda: gone(client, source, processing))
    waited = [arrival.body for arrival in receiver.arrivals if arrival.body not in receiver.refusals]
    assert waited == [body for body in PUSHED if body not in receiver.refusals]
    assert receiver.bodies == Counter(PUSHED)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 500])
async def test_a_storm_burns_nothing(
    short_waits: None,
    client: Redis,
    receiver: Receiver,
    variables: dict[str, str],
    status: int,
    source: str,
    processing: str,
    dead: str,
) -> None:
    """A wrong secret, a bad deploy of the receiver, a wrong URL: nothing is a dead letter for it in the end."""
    receiver.status = status
    await client.rpush(source, *PUSHED)
    async with running(settings_from(variables | {"CDR_GIVE_UP_AFTER": "0.01"})) as service:
        await eventually(lambda: is_open(service))
        await eventually(lambda: len(receiver.arrivals) >= CONCURRENCY + 5)
        await eventually(lambda: gone(client, dead))
        receiver.status = 204
        await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == Counter(PUSHED)
    assert await gone(client, dead)


async def test_poison_does_not_keep_it_open(
    short_waits: None, client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """More bad ones than the threshold, and nothing else: the next good one goes through, and all after it."""
    bad = [b"bad %d" % number for number in range(30)]
    receiver.judge = lambda body: 500 if body in bad else 204
    await client.rpush(source, *bad)
    async with running(settings_from(variables)) as service:
        await eventually(lambda: is_open(service))
        await client.rpush(source, *PUSHED)
        await eventually(lambda: receiver.bodies == Counter(PUSHED))
        await eventually(lambda: not is_open(service))

        async def only_bad_ones_are_left() -> bool:
            return sorted(await client.lrange(processing, 0, -1)) == sorted(bad)

        await eventually(only_bad_ones_are_left)


async def test_a_probe_after_nothing_waited_delivers_what_comes(
    short_waits: None, client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """The only CDR is rejected for good as the breaker opens; the next one that is pushed is the probe."""
    receiver.status = 410
    await client.rpush(source, b"first")
    async with running(settings_from(variables)) as service:
        await eventually(lambda: is_open(service))
        await client.delete(processing)
        receiver.status = 204
        await client.rpush(source, b"second")
        await eventually(lambda: receiver.bodies[b"second"])
        await eventually(lambda: gone(client, source, processing))


async def test_a_stop_while_it_is_open_leaves_at_once_and_loses_nothing(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """What waits between attempts is parked, and due when the next process starts."""
    receiver.status = 503
    await client.rpush(source, *PUSHED)
    async with running(settings_from(variables)) as service:
        await eventually(lambda: is_open(service))
    assert await client.llen(source) + await client.llen(processing) == len(PUSHED)
    receiver.status = 204
    async with running(settings_from(variables)):
        await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == Counter(PUSHED)


async def test_an_outage_is_two_lines_with_its_length_and_how_many_wait(
    start_child: StartChild, variables: dict[str, str], client: Redis, receiver: Receiver, source: str, processing: str
) -> None:
    """What an operator reads the next morning."""
    receiver.status = 503
    await client.rpush(source, *PUSHED)
    child = await start_child(variables | {"CDR_LOG_LEVEL": "info"}, "run")
    await eventually(lambda: child.events("endpoint.lost"))
    receiver.status = 204
    await eventually(lambda: gone(client, source, processing))
    await stopped(child)
    [lost], [back] = child.events("endpoint.lost"), child.events("endpoint.back")
    assert lost["error"] == "http_5xx 503"
    assert back["after"] > 0
    assert len(PUSHED) - 2 * CONCURRENCY <= back["waiting"] <= len(PUSHED)
    assert len(lines_of(child)) <= 10


# A limited rate


async def test_the_rate_of_attempts_is_limited(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """Whatever the concurrency: a tenth of a second's worth at once, the rest evenly."""
    await client.rpush(source, *PUSHED[:20])
    async with running(settings_from(variables | {"CDR_WEBHOOK_RATE_LIMIT": "40"})):
        await eventually(lambda: receiver.arrivals)
        began = time.monotonic()
        await eventually(lambda: gone(client, source, processing))
        assert time.monotonic() - began >= (20 - 4 - 1) / 40
    assert receiver.bodies == Counter(PUSHED[:20])


async def test_a_stop_does_not_wait_for_a_limited_rate(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """What waits for its turn stays in processing, without an attempt."""
    await client.rpush(source, *PUSHED[:20])
    async with asyncio.timeout(20):
        async with running(settings_from(variables | {"CDR_WEBHOOK_RATE_LIMIT": "0.01"})):
            await eventually(lambda: receiver.arrivals)
    assert len(receiver.arrivals) == 1
    assert await client.llen(source) + await client.llen(processing) == 19
