"""Nobody reads standard error, or whoever did is gone."""

import json
import signal
from typing import Any

import pytest

from tests.support.forwarder import Piped, all_arrive, numbered, owns_a_list, piped
from tests.support.harness import eventually
from tests.support.pace import clock
from tests.support.world import DefaultWorld

TALKATIVE = {"CDR_LOG_LEVEL": "debug"}
"""A line or more for each CDR, which fills the pipe."""


@pytest.fixture
def world(default_world: DefaultWorld) -> DefaultWorld:
    return default_world


async def _stops(forwarder: Piped) -> None:
    """Ask it to, and fail unless it ends within 5 s, with 0."""
    asked_at = clock()
    forwarder.process.send_signal(signal.SIGTERM)
    await eventually(lambda: forwarder.process.returncode is not None)
    assert forwarder.process.returncode == 0
    assert clock() - asked_at < 5


@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_a_log_reader_that_stalls_stops_nothing(world: DefaultWorld) -> None:
    """The pipe is full: 3,000 CDRs arrive within 30 s, and a stop works."""
    cdrs = numbered("cdr", 3000)
    async with piped(world.variables | TALKATIVE) as forwarder:
        await owns_a_list(world.redis, world.integrator)
        await world.redis.rpush(world.source, *cdrs)
        await all_arrive(world.receiver, cdrs, within=30)
        await _stops(forwarder)


@pytest.mark.timeout(60)
async def test_a_log_reader_that_dies_stops_nothing(world: DefaultWorld) -> None:
    """Each write to the pipe fails: 300 CDRs arrive within 20 s, and a stop works."""
    cdrs = numbered("cdr", 300)
    async with piped(world.variables | TALKATIVE) as forwarder:
        await owns_a_list(world.redis, world.integrator)
        forwarder.close()
        await world.redis.rpush(world.source, *cdrs)
        await all_arrive(world.receiver, cdrs, within=20)
        await _stops(forwarder)


@pytest.mark.slow
@pytest.mark.timeout(110)
async def test_what_a_stalled_reader_missed_is_counted(world: DefaultWorld) -> None:
    """Once it reads again, a line tells how many events were dropped meanwhile; all other lines are whole."""
    cdrs = numbered("cdr", 20_000)
    async with piped(world.variables | TALKATIVE) as forwarder:
        await owns_a_list(world.redis, world.integrator)
        await world.redis.rpush(world.source, *cdrs)
        await all_arrive(world.receiver, cdrs, within=60)
        await eventually(
            lambda: any(line["event"] == "log.dropped" and line["number"] > 0 for line in _lines(forwarder))
        )


def _lines(forwarder: Piped) -> list[dict[str, Any]]:
    whole, _, _ = forwarder.read().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]
