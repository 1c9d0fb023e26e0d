"""An endpoint that is down is left alone, and found again: a real Redis, a real receiver."""

import asyncio
from collections import Counter
from typing import Final

import pytest
from redis.asyncio import Redis

from app.config.timings import Timings
from app.delivery.breaker import Breaker
from app.service import Service
from tests.process.test_events import lines_of, stopped
from tests.support.harness import eventually, gone, running, settings_from
from tests.support.world import World

PUSHED: Final = [b"cdr %d" % number for number in range(100)]
CONCURRENCY: Final = 16


QUICK: Final = Timings(
    claim_wait=0.1, first_probe=0.05, longest_probe=0.1, gone_probe=0.1, between_rejections=0.5, least_attempts=2
)


@pytest.fixture
def variables(variables: dict[str, str]) -> dict[str, str]:
    return variables | {"CDR_WEBHOOK_CONCURRENCY": str(CONCURRENCY), "CDR_SWEEP_INTERVAL": "0.2"}


def breaker_of(service: Service) -> Breaker:
    [loops] = service.parts.lanes
    return loops.lane.gate.breaker


def is_open(service: Service) -> bool:
    return bool(service.parts.lanes) and not breaker_of(service).is_closed


# What it does


async def test_an_endpoint_that_is_down_is_left_alone_and_found_again(world: World) -> None:
    """Probes one at a time, and most CDRs wait in their list; then all come, each once."""
    world.receiver.status = 503
    await world.redis.rpush(world.source, *PUSHED)
    async with running(world.settings, QUICK) as service:
        await eventually(lambda: is_open(service))
        await eventually(lambda: service.parts.lanes[0].lane.in_flight.number == 0)
        before = len(world.receiver.arrivals)
        most = 0

        async def probed() -> bool:
            nonlocal most
            most = max(most, service.parts.lanes[0].lane.in_flight.number)
            return len(world.receiver.arrivals) >= before + 5

        await eventually(probed)
        assert most <= 2  # the first of a pair may still be on its way back to Redis
        assert await world.redis.llen(world.source) > len(PUSHED) - 3 * CONCURRENCY
        world.receiver.status = 204
        await eventually(lambda: gone(world.redis, *world.waiting))
        assert not is_open(service)
    assert world.receiver.bodies == Counter(PUSHED)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 500])
async def test_a_storm_burns_nothing(world: World, status: int) -> None:
    """A wrong secret, a bad deploy of the receiver, a wrong URL: nothing is a dead letter for it in the end."""
    world.receiver.status = status
    await world.redis.rpush(world.source, *PUSHED)
    async with running(settings_from(world.variables | {"CDR_GIVE_UP_AFTER": "0.01"}), QUICK) as service:
        await eventually(lambda: is_open(service))
        await eventually(lambda: len(world.receiver.arrivals) >= CONCURRENCY + 5)
        await eventually(lambda: gone(world.redis, world.dead))
        world.receiver.status = 204
        await eventually(lambda: gone(world.redis, *world.waiting))
    assert world.receiver.bodies == Counter(PUSHED)
    assert await gone(world.redis, world.dead)


async def test_poison_does_not_keep_it_open(world: World) -> None:
    """More bad ones than the threshold, and nothing else: the next good one goes through, and all after it."""
    bad = [b"bad %d" % number for number in range(30)]
    world.receiver.judge = lambda body: 500 if body in bad else 204
    await world.redis.rpush(world.source, *bad)
    async with running(world.settings, QUICK) as service:
        await eventually(lambda: is_open(service))
        await world.redis.rpush(world.source, *PUSHED)
        await eventually(lambda: world.receiver.bodies == Counter(PUSHED))
        await eventually(lambda: not is_open(service))
        await eventually(lambda: only_deferred(world, len(bad)))


async def only_deferred(world: World, number: int) -> bool:
    """Tell whether nothing is left but so many that wait for another try."""
    deferred = await world.redis.zcard(world.retry) + await world.redis.zcard(world.retrying)
    return await gone(world.redis, world.source, world.processing) and deferred == number


async def test_what_failed_before_opens_it_too(world: World) -> None:
    """Were deferred CDRs exempt, an endpoint that is down would get hundreds of posts for nothing."""
    world.receiver.status = 503
    await put_into_retry(world.redis, world.integrator, 40, replayed=False)
    async with running(settings_from(world.variables | {"CDR_WEBHOOK_BREAKER_THRESHOLD": "10"}), QUICK) as service:
        await eventually(lambda: is_open(service))


async def test_what_was_replayed_never_opens_it(world: World) -> None:
    """Bad dead letters that are replayed say nothing about the endpoint."""
    world.receiver.judge = lambda body: 500 if body.startswith(b"bad") else 204
    await put_into_retry(world.redis, world.integrator, 40, replayed=True)
    async with running(settings_from(world.variables | {"CDR_WEBHOOK_BREAKER_THRESHOLD": "2"}), QUICK) as service:
        opened: list[bool] = []

        def all_failed() -> bool:
            opened.append(is_open(service))
            return len(world.receiver.refusals) == 40

        await eventually(all_failed)
        await world.redis.rpush(world.source, "good")
        await eventually(lambda: world.receiver.bodies[b"good"])
    assert not any(opened)


async def test_strikes_never_open_it(world: World) -> None:
    """They fail for their own fault: a good one was accepted since each of them failed last."""
    world.receiver.judge = lambda body: 500 if body.startswith(b"bad") else 204
    once = {"CDR_WEBHOOK_BREAKER_THRESHOLD": "2", "CDR_WEBHOOK_BACKOFF": "30"}
    async with running(settings_from(world.variables | once), Timings(claim_wait=0.1)) as service:
        await world.redis.rpush(world.source, "good")
        await eventually(lambda: world.receiver.bodies[b"good"])
        await put_into_retry(world.redis, world.integrator, 20, replayed=False)
        await eventually(lambda: len(world.receiver.refusals) == 20)
        await eventually(lambda: service.parts.lanes[0].lane.in_flight.number == 0)
        assert not is_open(service)


async def put_into_retry(client: Redis, integrator: str, number: int, *, replayed: bool) -> None:
    header = f"1 0 1 0 1 - 0 {replayed:d}"
    members = {f"cdr1 token-{one} {header}\nbad {one}": 0 for one in range(number)}
    await client.zadd(f"{integrator}:retry:cdr", members)


async def test_a_probe_after_nothing_waited_delivers_what_comes(world: World) -> None:
    """The only CDR is gone when the breaker has opened; the next one that is pushed is the probe."""
    world.receiver.status = 410
    world.variables["CDR_WEBHOOK_BREAKER_THRESHOLD"] = "1"
    await world.redis.rpush(world.source, b"first")
    async with running(world.settings, QUICK) as service:
        await eventually(lambda: is_open(service))
        await eventually(lambda: world.redis.exists(world.retry))
        await world.redis.delete(*world.waiting)
        world.receiver.status = 204
        await world.redis.rpush(world.source, b"second")
        await eventually(lambda: world.receiver.bodies[b"second"])
        await eventually(lambda: gone(world.redis, *world.waiting))


async def test_a_stop_while_it_is_open_leaves_at_once_and_loses_nothing(world: World) -> None:
    """What failed is deferred, what was not attempted pending, and the next process delivers both."""
    world.receiver.status = 503
    await world.redis.rpush(world.source, *PUSHED)
    async with running(world.settings, QUICK) as service:
        await eventually(lambda: is_open(service))
    assert await world.redis.llen(world.source) + await world.redis.zcard(world.retry) == len(PUSHED)
    assert await gone(world.redis, world.processing, world.retrying)
    world.receiver.status = 204
    async with running(world.settings, QUICK):
        await eventually(lambda: gone(world.redis, *world.waiting))
    assert world.receiver.bodies == Counter(PUSHED)


async def test_an_outage_is_two_lines_with_its_length_and_how_many_wait(world: World) -> None:
    """What an operator reads the next morning."""
    world.receiver.status = 503
    await world.redis.rpush(world.source, *PUSHED)
    child = await world.start({"CDR_LOG_LEVEL": "info"})
    await eventually(lambda: child.events("endpoint.lost"))
    world.receiver.status = 204
    await eventually(lambda: gone(world.redis, *world.waiting))
    await stopped(child)
    [lost], [back] = child.events("endpoint.lost"), child.events("endpoint.back")
    assert (lost["error"], lost["endpoint"]) == ("503", "webhook")
    assert lost["place"] in world.receiver.url
    assert back["after"] > 0
    assert 0 <= back["waiting"] <= len(PUSHED)
    assert len(lines_of(child)) <= 10


# A limited rate


async def test_the_rate_of_attempts_is_limited(world: World) -> None:
    """Whatever the concurrency: a tenth of a second's worth at once, the rest evenly."""
    await world.redis.rpush(world.source, *PUSHED[:20])
    async with running(settings_from(world.variables | {"CDR_WEBHOOK_RATE_LIMIT": "20"}), QUICK):
        await eventually(lambda: gone(world.redis, *world.waiting))
    lasted = world.receiver.arrivals[-1].at - world.receiver.arrivals[0].at
    assert lasted >= (20 - 2 - 1) / 20 - 0.2  # the first may be seen late
    assert world.receiver.bodies == Counter(PUSHED[:20])


async def test_a_stop_does_not_wait_for_a_limited_rate(world: World) -> None:
    """What waits for its turn is pending again, without an attempt."""
    await world.redis.rpush(world.source, *PUSHED[:20])
    async with asyncio.timeout(20):
        async with running(settings_from(world.variables | {"CDR_WEBHOOK_RATE_LIMIT": "0.01"}), QUICK):
            await eventually(lambda: world.receiver.arrivals)
    assert len(world.receiver.arrivals) == 1
    assert await world.redis.llen(world.source) == 19
