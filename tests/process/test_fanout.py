"""Every endpoint gets every CDR, on a lane that no other can delay: a real Redis, real receivers."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from app.config.settings import Settings
from app.config.timings import Timings
from app.store.keys import Topology
from tests.conftest import StartChild
from tests.support.harness import eventually, gone, running, settings_from
from tests.support.receiver import Receiver

NAMES: Final = ("billing", "crm", "archive")
PUSHED: Final = [b"cdr %d" % number for number in range(300)] + [b"twin"] * 5


@pytest.fixture
async def receivers() -> AsyncIterator[dict[str, Receiver]]:
    async with AsyncExitStack() as stack:
        receivers = {name: await stack.enter_async_context(Receiver()) for name in NAMES}
        yield receivers
        for receiver in receivers.values():
            receiver.gate.set()


@pytest.fixture
def several(variables: dict[str, str], receivers: dict[str, Receiver]) -> dict[str, str]:
    shared = {name: value for name, value in variables.items() if name != "CDR_WEBHOOK_URL"}
    return shared | {f"CDR_ENDPOINTS__{name.upper()}__URL": receiver.url for name, receiver in receivers.items()}


QUICK: Final = Timings(claim_wait=0.1, first_probe=0.05, longest_probe=0.1, operator_pause=0.1, between_rejections=0.5)


def without(variables: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in variables.items() if f"__{name.upper()}__" not in key}


def keys_of(settings: Settings) -> list[str]:
    """Return every key that a CDR of these settings may be in on its way, but for high slots."""
    topology = Topology(settings.sources[0])
    lanes = [topology.short, *topology.lanes.values()]
    return [key for lane in lanes for key in (*lane.waiting, *(lane.slot(number).processing for number in range(1, 5)))]


def has_all(receiver: Receiver) -> bool:
    return receiver.bodies == Counter(PUSHED)


def has_taken(receiver: Receiver, number: int) -> bool:
    return receiver.bodies.total() >= number


async def all_done(client: Redis, settings: Settings) -> None:
    await eventually(lambda: gone(client, *keys_of(settings)))


async def test_every_endpoint_gets_every_cdr(
    client: Redis, receivers: dict[str, Receiver], several: dict[str, str], source: str
) -> None:
    """Byte for byte, twins as often as they were pushed, in calm each once."""
    settings = settings_from(several)
    await client.rpush(source, *PUSHED)
    async with running(settings, QUICK):
        await all_done(client, settings)
    assert [receiver.bodies for receiver in receivers.values()] == [Counter(PUSHED)] * 3


async def test_they_are_claimed_oldest_first_from_either_end(
    client: Redis, receivers: dict[str, Receiver], several: dict[str, str], source: str
) -> None:
    """One at a time, the order is that of the calls."""
    settings = settings_from(several | {"CDR_SOURCE_OLDEST": "tail", "CDR_WEBHOOK_CONCURRENCY": "1"})
    await client.lpush(source, *PUSHED[:50])
    async with running(settings, replace(QUICK, channels=1)):
        await all_done(client, settings)
    for receiver in receivers.values():
        assert [arrival.body for arrival in receiver.arrivals] == PUSHED[:50]


async def test_one_that_hangs_delays_no_other(
    client: Redis, receivers: dict[str, Receiver], several: dict[str, str], source: str
) -> None:
    """Billing and the archive have all, while the CRM has answered nothing; and the CRM misses nothing."""
    settings = settings_from(several)
    receivers["crm"].gate.clear()
    await client.rpush(source, *PUSHED)
    async with running(settings, QUICK):
        for name in ("billing", "archive"):
            await eventually(partial(has_all, receivers[name]))
        assert not receivers["crm"].arrivals
        assert receivers["crm"].at_the_gate
        receivers["crm"].gate.set()
        await all_done(client, settings)
    assert receivers["crm"].bodies == Counter(PUSHED)


@pytest.mark.parametrize("status", [400, 410, 500])
async def test_one_that_is_down_delays_no_other_and_misses_nothing(
    client: Redis, receivers: dict[str, Receiver], several: dict[str, str], status: int, source: str
) -> None:
    """Its breaker opens; what it has missed waits in its own list."""
    settings = settings_from(several)
    receivers["crm"].status = status
    await client.rpush(source, *PUSHED)
    async with running(settings, QUICK) as service:
        for name in ("billing", "archive"):
            await eventually(partial(has_all, receivers[name]))
        gates = {loops.endpoint.name: loops.lane.gate for loops in service.parts.lanes}
        await eventually(lambda: not gates["crm"].breaker.is_closed)
        receivers["crm"].status = 204
        gates["crm"].probe_now()  # after 410 it would be in an hour
        await all_done(client, settings)
    assert receivers["crm"].bodies == Counter(PUSHED)


async def test_a_long_backlog_waits_once(
    client: Redis,
    receivers: dict[str, Receiver],
    several: dict[str, str],
    source: str,
) -> None:
    """It is not copied into the list of every endpoint that is slow."""
    settings = settings_from(several | {"CDR_WEBHOOK_CONCURRENCY": "4"})
    for receiver in receivers.values():
        receiver.gate.clear()
    await client.rpush(source, *PUSHED)
    pendings = [lane.pending for lane in Topology(settings.sources[0]).lanes.values()]
    async with running(settings, replace(QUICK, most_pending=20, distributed=10)):
        await eventually(lambda: all(receiver.at_the_gate == 4 for receiver in receivers.values()))

        async def full() -> bool:
            lengths: list[Any] = [await client.llen(pending) for pending in pendings]
            assert max(lengths) <= 20
            return lengths == [20] * 3

        await eventually(full)
        assert await client.llen(source) >= len(PUSHED) - 60
        for receiver in receivers.values():
            receiver.gate.set()
        await all_done(client, settings)
    assert [receiver.bodies for receiver in receivers.values()] == [Counter(PUSHED)] * 3


async def test_an_added_endpoint_gets_what_comes_from_then_on_and_a_removed_one_keeps_what_waits(
    start_child: StartChild, client: Redis, receivers: dict[str, Receiver], several: dict[str, str], source: str
) -> None:
    """A change of configuration loses nothing, and says what is left over."""
    receivers["crm"].gate.clear()
    first = without(several, "archive")
    await client.rpush(source, *PUSHED[:50])
    async with running(settings_from(first | {"CDR_SHUTDOWN_GRACE": "0"}), QUICK):
        await eventually(lambda: receivers["billing"].bodies == Counter(PUSHED[:50]))
    second = without(several, "crm")
    child = await start_child(second, "run")
    await client.rpush(source, *PUSHED[50:])
    await all_done(client, settings_from(second))
    assert Counter(PUSHED) - receivers["billing"].bodies == Counter()  # cut off, it may not have acked them all
    assert receivers["archive"].bodies == Counter(PUSHED[50:])
    [left] = child.events("endpoint.left_over")
    assert (left["endpoint"], left["waiting"]) == ("crm", 50)
    receivers["crm"].gate.set()
    await child.kill()
    third = settings_from(several)
    async with running(third, QUICK):
        await all_done(client, third)
    assert set(receivers["crm"].bodies) >= set(PUSHED[:50])


async def test_a_change_from_one_endpoint_to_several_loses_nothing(
    client: Redis, receivers: dict[str, Receiver], several: dict[str, str], variables: dict[str, str], source: str
) -> None:
    """Old and new run side by side for a while: what the old one leaves in processing is distributed."""
    receivers["crm"].gate.clear()
    alone = variables | {"CDR_WEBHOOK_URL": receivers["crm"].url, "CDR_SHUTDOWN_GRACE": "0"}
    await client.rpush(source, *PUSHED[:20])
    settings = settings_from(several)
    async with running(settings_from(alone), QUICK):
        await eventually(lambda: receivers["crm"].at_the_gate)
        async with running(settings, QUICK):
            await client.rpush(source, *PUSHED[20:])
            await eventually(partial(has_taken, receivers["billing"], len(PUSHED) // 2))
    receivers["crm"].gate.set()
    async with running(settings, QUICK):
        await all_done(client, settings)
    for name in ("billing", "archive"):
        assert receivers[name].bodies == Counter(PUSHED)
    assert Counter(PUSHED) - receivers["crm"].bodies == Counter()


async def test_the_lists_of_a_process_that_died_are_adopted_by_lane(
    client: Redis, receivers: dict[str, Receiver], several: dict[str, str], source: str
) -> None:
    """Also where its slot is held by a process that has no such lane."""
    settings = settings_from(several)
    topology = Topology(settings.sources[0])
    short, billing, crm = topology.short, topology.lane("billing"), topology.lane("crm")
    await client.rpush(crm.slot(6).processing, b"orphan of the crm")
    await client.rpush(short.slot(6).processing, b"orphan of all")
    owner = {"id": "x", "host": "elsewhere", "source": source, "fans_out": True, "endpoints": {"billing": ""}}
    await client.set(short.slot(7).owner, json.dumps(owner), px=60_000)
    await client.rpush(crm.slot(7).processing, b"nobody's")
    await client.rpush(billing.slot(7).processing, b"somebody's")
    async with running(settings, QUICK):
        await eventually(
            lambda: receivers["crm"].bodies.keys() == {b"orphan of the crm", b"orphan of all", b"nobody's"}
        )
        await eventually(lambda: receivers["billing"].bodies.keys() == {b"orphan of all"})
    assert await client.lrange(billing.slot(7).processing, 0, -1) == [b"somebody's"]


async def test_a_killed_forwarder_loses_nothing_for_any_endpoint(
    start_child: StartChild, client: Redis, receivers: dict[str, Receiver], several: dict[str, str], source: str
) -> None:
    """Killed in the middle of a distribution, several times."""
    settings = settings_from(several)
    await client.rpush(source, *PUSHED)
    for number in (30, 90, 180):
        child = await start_child(several, "run")
        await eventually(partial(has_taken, receivers["crm"], number))
        await child.kill()
    async with running(settings, QUICK):
        await all_done(client, settings)
    for receiver in receivers.values():
        assert Counter(PUSHED) - receiver.bodies == Counter()


async def test_a_list_of_another_type_stops_distribution_and_loses_nothing(
    client: Redis, receivers: dict[str, Receiver], several: dict[str, str], source: str
) -> None:
    """All lanes or none: no endpoint gets a CDR that another one would miss."""
    settings = settings_from(several)
    wrong = Topology(settings.sources[0]).lane("archive").pending
    await client.set(wrong, "a string")
    await client.rpush(source, *PUSHED)
    async with running(settings, QUICK) as service:
        await eventually(lambda: service.parts.sources[0].link.refused)
        assert not receivers["billing"].arrivals
        await client.delete(wrong)
        await all_done(client, settings)
    assert [receiver.bodies for receiver in receivers.values()] == [Counter(PUSHED)] * 3


async def test_what_one_endpoint_fails_is_tried_again_there_alone(
    client: Redis, receivers: dict[str, Receiver], several: dict[str, str], source: str
) -> None:
    """Each lane has a retry set of its own."""
    settings = settings_from(several)
    receivers["crm"].judge = lambda body: 503 if receivers["crm"].refusals[body] < 2 else 204
    await client.rpush(source, *PUSHED[:5])
    async with running(settings, QUICK):
        await all_done(client, settings)
    assert [receiver.bodies for receiver in receivers.values()] == [Counter(PUSHED[:5])] * 3
    assert [receiver.refusals.total() for receiver in receivers.values()] == [0, 10, 0]


async def test_a_lane_that_is_shut_and_has_nothing_to_probe_with_is_given_one(
    client: Redis, receivers: dict[str, Receiver], several: dict[str, str], source: str
) -> None:
    """All lanes are shut and empty: distribution and breakers would wait for each other for ever."""
    settings = settings_from(several | {"CDR_WEBHOOK_BREAKER_THRESHOLD": "1"})
    for receiver in receivers.values():
        receiver.status = 410
    await client.rpush(source, "first")
    async with running(settings, replace(QUICK, gone_probe=0.1)) as service:
        await eventually(lambda: service.parts.lanes and all(loops.lane.is_shut for loops in service.parts.lanes))
        # given: a hand has removed what waited
        await eventually(lambda: client.exists(*(lane.retry for lane in Topology(settings.sources[0]).lanes.values())))
        await client.delete(*keys_of(settings))
        # when: new ones come, and the endpoints are well again
        for receiver in receivers.values():
            receiver.status = 204
        await client.rpush(source, *PUSHED[:20])
        # then: all arrive
        await eventually(lambda: all(not Counter(PUSHED[:20]) - one.bodies for one in receivers.values()))


async def test_what_a_former_one_endpoint_configuration_deferred_is_distributed(
    client: Redis, receivers: dict[str, Receiver], several: dict[str, str], source: str
) -> None:
    """Due ones and later ones, with what is known of them; and what it had in hand when its visibility ends."""
    settings = settings_from(several)
    short = Topology(settings.sources[0]).short
    await client.zadd(short.retry, {"cdr1 t-1 2 0 1 0 1 - 0 0\ndeferred": 1})
    await client.zadd(short.retrying, {"cdr1 t-2 2 0 1 0 1 - 0 0\nin hand": 1})
    async with running(settings, QUICK):
        await all_done(client, settings)
    wanted = Counter([b"deferred", b"in hand"])
    assert [receiver.bodies for receiver in receivers.values()] == [wanted] * 3
    assert {arrival.attempt for arrival in receivers["crm"].arrivals} == {3}
