"""An endpoint that is down is left alone, and found again: a real Redis, a real receiver."""

import asyncio
from collections import Counter
from typing import Final

import pytest
from redis.asyncio import Redis

from app.config.timings import Timings
from app.delivery.breaker import Breaker
from app.service import Service
from tests.conftest import StartChild
from tests.process.test_events import lines_of, stopped
from tests.support.harness import eventually, gone, running, settings_from
from tests.support.receiver import Receiver

PUSHED: Final = [b"cdr %d" % number for number in range(100)]
CONCURRENCY: Final = 16


QUICK: Final = Timings(
    claim_wait=0.1, first_probe=0.05, longest_probe=0.1, gone_probe=0.1, patience=0.5, least_attempts=2
)


@pytest.fixture
def variables(variables: dict[str, str]) -> dict[str, str]:
    return variables | {"CDR_WEBHOOK_CONCURRENCY": str(CONCURRENCY), "CDR_SWEEP_INTERVAL": "0.2"}


@pytest.fixture
def waiting(integrator: str, source: str, processing: str) -> list[str]:
    """Return the keys that hold what is to be delivered."""
    return [source, processing, f"{integrator}:retry:cdr", f"{integrator}:retrying:cdr"]


def breaker_of(service: Service) -> Breaker:
    [loops] = service.parts.lanes
    return loops.lane.gate.breaker


def is_open(service: Service) -> bool:
    return bool(service.parts.lanes) and not breaker_of(service).is_closed


# What it does


async def test_an_endpoint_that_is_down_is_left_alone_and_found_again(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, waiting: list[str]
) -> None:
    """Probes one at a time, and most CDRs wait in their list; then all come, each once."""
    receiver.status = 503
    await client.rpush(source, *PUSHED)
    async with running(settings_from(variables), QUICK) as service:
        await eventually(lambda: is_open(service))
        await eventually(lambda: service.parts.lanes[0].lane.in_flight.number == 0)
        before = len(receiver.arrivals)
        most = 0

        async def probed() -> bool:
            nonlocal most
            most = max(most, service.parts.lanes[0].lane.in_flight.number)
            return len(receiver.arrivals) >= before + 5

        await eventually(probed)
        assert most <= 2  # the first of a pair may still be on its way back to Redis
        assert await client.llen(source) > len(PUSHED) - 3 * CONCURRENCY
        receiver.status = 204
        await eventually(lambda: gone(client, *waiting))
        assert not is_open(service)
    assert receiver.bodies == Counter(PUSHED)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 500])
async def test_a_storm_burns_nothing(
    client: Redis,
    receiver: Receiver,
    variables: dict[str, str],
    status: int,
    source: str,
    waiting: list[str],
    dead: str,
) -> None:
    """A wrong secret, a bad deploy of the receiver, a wrong URL: nothing is a dead letter for it in the end."""
    receiver.status = status
    await client.rpush(source, *PUSHED)
    async with running(settings_from(variables | {"CDR_GIVE_UP_AFTER": "0.01"}), QUICK) as service:
        await eventually(lambda: is_open(service))
        await eventually(lambda: len(receiver.arrivals) >= CONCURRENCY + 5)
        await eventually(lambda: gone(client, dead))
        receiver.status = 204
        await eventually(lambda: gone(client, *waiting))
    assert receiver.bodies == Counter(PUSHED)
    assert await gone(client, dead)


async def test_poison_does_not_keep_it_open(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, waiting: list[str]
) -> None:
    """More bad ones than the threshold, and nothing else: the next good one goes through, and all after it."""
    bad = [b"bad %d" % number for number in range(30)]
    receiver.judge = lambda body: 500 if body in bad else 204
    await client.rpush(source, *bad)
    async with running(settings_from(variables), QUICK) as service:
        await eventually(lambda: is_open(service))
        await client.rpush(source, *PUSHED)
        await eventually(lambda: receiver.bodies == Counter(PUSHED))
        await eventually(lambda: not is_open(service))
        await eventually(lambda: only_deferred(client, waiting, len(bad)))


async def only_deferred(client: Redis, waiting: list[str], number: int) -> bool:
    """Tell whether nothing is left but so many that wait for another try."""
    source, processing, retry, retrying = waiting
    return await gone(client, source, processing) and await client.zcard(retry) + await client.zcard(retrying) == number


async def test_what_failed_before_opens_it_too(
    client: Redis, receiver: Receiver, variables: dict[str, str], integrator: str
) -> None:
    """Were deferred CDRs exempt, an endpoint that is down would get hundreds of posts for nothing."""
    receiver.status = 503
    await put_into_retry(client, integrator, 40, replayed=False)
    async with running(settings_from(variables | {"CDR_WEBHOOK_BREAKER_THRESHOLD": "10"}), QUICK) as service:
        await eventually(lambda: is_open(service))


async def test_what_was_replayed_never_opens_it(
    client: Redis, receiver: Receiver, variables: dict[str, str], integrator: str, source: str
) -> None:
    """Bad dead letters that are replayed say nothing about the endpoint."""
    receiver.judge = lambda body: 500 if body.startswith(b"bad") else 204
    await put_into_retry(client, integrator, 40, replayed=True)
    async with running(settings_from(variables | {"CDR_WEBHOOK_BREAKER_THRESHOLD": "2"}), QUICK) as service:
        opened: list[bool] = []

        def all_failed() -> bool:
            opened.append(is_open(service))
            return len(receiver.refusals) == 40

        await eventually(all_failed)
        await client.rpush(source, "good")
        await eventually(lambda: receiver.bodies[b"good"])
    assert not any(opened)


async def test_strikes_never_open_it(
    client: Redis, receiver: Receiver, variables: dict[str, str], integrator: str, source: str
) -> None:
    """They fail for their own fault: a good one was accepted since each of them failed last."""
    receiver.judge = lambda body: 500 if body.startswith(b"bad") else 204
    once = {"CDR_WEBHOOK_BREAKER_THRESHOLD": "2", "CDR_WEBHOOK_BACKOFF": "30"}
    async with running(settings_from(variables | once), Timings(claim_wait=0.1)) as service:
        await client.rpush(source, "good")
        await eventually(lambda: receiver.bodies[b"good"])
        await put_into_retry(client, integrator, 20, replayed=False)
        await eventually(lambda: len(receiver.refusals) == 20)
        await eventually(lambda: service.parts.lanes[0].lane.in_flight.number == 0)
        assert not is_open(service)


async def put_into_retry(client: Redis, integrator: str, number: int, *, replayed: bool) -> None:
    header = f"1 0 1 0 1 - 0 {replayed:d}"
    members = {f"cdr1 token-{one} {header}\nbad {one}": 0 for one in range(number)}
    await client.zadd(f"{integrator}:retry:cdr", members)


async def test_a_probe_after_nothing_waited_delivers_what_comes(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, waiting: list[str]
) -> None:
    """The only CDR is gone when the breaker has opened; the next one that is pushed is the probe."""
    receiver.status = 410
    variables["CDR_WEBHOOK_BREAKER_THRESHOLD"] = "1"
    await client.rpush(source, b"first")
    async with running(settings_from(variables), QUICK) as service:
        await eventually(lambda: is_open(service))
        await eventually(lambda: client.exists(waiting[2]))
        await client.delete(*waiting)
        receiver.status = 204
        await client.rpush(source, b"second")
        await eventually(lambda: receiver.bodies[b"second"])
        await eventually(lambda: gone(client, *waiting))


async def test_a_stop_while_it_is_open_leaves_at_once_and_loses_nothing(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, waiting: list[str]
) -> None:
    """What failed is deferred, what was not attempted pending, and the next process delivers both."""
    receiver.status = 503
    await client.rpush(source, *PUSHED)
    async with running(settings_from(variables), QUICK) as service:
        await eventually(lambda: is_open(service))
    source, processing, retry, retrying = waiting
    assert await client.llen(source) + await client.zcard(retry) == len(PUSHED)
    assert await gone(client, processing, retrying)
    receiver.status = 204
    async with running(settings_from(variables), QUICK):
        await eventually(lambda: gone(client, *waiting))
    assert receiver.bodies == Counter(PUSHED)


async def test_an_outage_is_two_lines_with_its_length_and_how_many_wait(
    start_child: StartChild,
    variables: dict[str, str],
    client: Redis,
    receiver: Receiver,
    source: str,
    waiting: list[str],
) -> None:
    """What an operator reads the next morning."""
    receiver.status = 503
    await client.rpush(source, *PUSHED)
    child = await start_child(variables | {"CDR_LOG_LEVEL": "info"}, "run")
    await eventually(lambda: child.events("endpoint.lost"))
    receiver.status = 204
    await eventually(lambda: gone(client, *waiting))
    await stopped(child)
    [lost], [back] = child.events("endpoint.lost"), child.events("endpoint.back")
    assert (lost["error"], lost["endpoint"]) == ("503", "webhook")
    assert lost["place"] in receiver.url
    assert back["after"] > 0
    assert 0 <= back["waiting"] <= len(PUSHED)
    assert len(lines_of(child)) <= 10


# A limited rate


async def test_the_rate_of_attempts_is_limited(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, waiting: list[str]
) -> None:
    """Whatever the concurrency: a tenth of a second's worth at once, the rest evenly."""
    await client.rpush(source, *PUSHED[:20])
    async with running(settings_from(variables | {"CDR_WEBHOOK_RATE_LIMIT": "20"}), QUICK):
        await eventually(lambda: gone(client, *waiting))
    lasted = receiver.arrivals[-1].at - receiver.arrivals[0].at
    assert lasted >= (20 - 2 - 1) / 20 - 0.2  # the first may be seen late
    assert receiver.bodies == Counter(PUSHED[:20])


async def test_a_stop_does_not_wait_for_a_limited_rate(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, waiting: list[str]
) -> None:
    """What waits for its turn is pending again, without an attempt."""
    await client.rpush(source, *PUSHED[:20])
    async with asyncio.timeout(20):
        async with running(settings_from(variables | {"CDR_WEBHOOK_RATE_LIMIT": "0.01"}), QUICK):
            await eventually(lambda: receiver.arrivals)
    assert len(receiver.arrivals) == 1
    assert await client.llen(source) == 19
