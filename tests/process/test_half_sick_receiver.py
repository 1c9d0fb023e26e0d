"""A receiver that fails for some CDRs, or for some time, and takes the others."""

import json
from dataclasses import replace

import pytest

from app.cdr import webhook_id
from tests.support.forwarder import all_arrive, is_up, numbered
from tests.support.harness import eventually
from tests.support.pace import clock, paced, until
from tests.support.scripted import BROKEN, BUSY, REJECTED, TAKEN, Answer, Question, Script
from tests.support.world import DefaultWorld


@pytest.fixture
def world(default_world: DefaultWorld) -> DefaultWorld:
    return default_world


def always(answer: Answer, *, to: bytes) -> Script:
    """Return a script that gives this answer to bodies that contain `to`, and takes the others."""
    return lambda question: answer if to in question.body else TAKEN


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_one_in_ten_that_always_fails_does_not_hold_up_the_others(world: DefaultWorld) -> None:
    """200 of 2,000 are always answered 500; the other 1,800 arrive within 15 s."""
    world.receiver.script = always(BROKEN, to=b"bad-")
    good, bad = numbered("good", 1800), numbered("bad", 200)
    mixed = [cdr for number, one in enumerate(bad) for cdr in (*good[number * 9 : number * 9 + 9], one)]
    await world.start(slot=1)
    await world.redis.rpush(world.source, *mixed)
    await all_arrive(world.receiver, good, within=15)


@pytest.mark.slow
@pytest.mark.timeout(110)
async def test_fifty_bad_ones_in_a_row_do_not_stop_the_fifty_good_ones_behind_them(world: DefaultWorld) -> None:
    """They are always answered 500, five times the breaker's threshold; concurrency 10, and nothing new comes."""
    world.receiver.script = always(BROKEN, to=b"bad-")
    good = numbered("good", 50)
    await world.start({"CDR_WEBHOOK_CONCURRENCY": "10"}, slot=1)
    await world.redis.rpush(world.source, *numbered("bad", 50), *good)
    await all_arrive(world.receiver, good, within=60)


FAILURES = 5
"""How often a CDR fails before it is rejected."""


@pytest.mark.slow
@pytest.mark.timeout(130)
async def test_ten_deferred_ones_that_are_rejected_in_a_row_do_not_stop_distribution(world: DefaultWorld) -> None:
    """One named endpoint: ten CDRs fail, are deferred, and are rejected when tried again; a new one arrives.

    While they fail others are taken, so that the failures make no row; while they are rejected nothing else comes.
    """
    bad = numbered("bad", 10)
    world.receiver.script = lambda question: (
        _fails_and_is_then_rejected(question) if b"bad-" in question.body else TAKEN
    )
    await _named(world).start({"CDR_SWEEP_INTERVAL": "10"}, slot=1)
    async for number in paced(160, per_second=4):
        await world.redis.rpush(world.source, *bad[number : number + 1], f"good-{number}")
        if all(world.receiver.arrived[body] >= FAILURES for body in bad):
            break
    await eventually(lambda: all(world.receiver.arrived[body] > FAILURES for body in bad), deadline=45)
    await world.redis.rpush(world.source, "new")
    await all_arrive(world.receiver, [b"new"], within=15)


def _fails_and_is_then_rejected(question: Question) -> Answer:
    return BUSY if question.arrival <= FAILURES else REJECTED


async def test_one_410_does_not_stop_distribution(world: DefaultWorld) -> None:
    """One named endpoint answers 410 once and is then well; that CDR and a new one arrive."""
    world.receiver.script = lambda question: Answer(410) if question == Question(b"first", 1, 0.0) else TAKEN
    await _named(world).start(slot=1)
    await world.redis.rpush(world.source, "first")
    await eventually(lambda: world.receiver.arrived[b"first"])
    await world.redis.rpush(world.source, "new")
    await all_arrive(world.receiver, [b"first", b"new"], within=15)


def _named(world: DefaultWorld) -> DefaultWorld:
    """Give the endpoint a name, and so a lane that is fed by distribution."""
    others = {name: value for name, value in world.variables.items() if name != "CDR_WEBHOOK_URL"}
    return replace(world, variables=others | {"CDR_ENDPOINTS__CRM__URL": world.receiver.url})


class Storm:
    """Answers 503 for 2 s, takes one, answers 400 to all for 30 s, and is well from then on."""

    OUTAGE, STORM = 2.0, 30.0

    def __init__(self) -> None:
        self.first_taken_at: float | None = None

    def __call__(self, question: Question) -> Answer:
        if question.seconds < self.OUTAGE:
            return BUSY
        if self.first_taken_at is None:
            self.first_taken_at = question.seconds
            return TAKEN
        return REJECTED if question.seconds < self.first_taken_at + self.STORM else TAKEN


@pytest.mark.slow
@pytest.mark.timeout(130)
async def test_a_storm_of_rejections_after_an_outage_kills_nothing(world: DefaultWorld) -> None:
    """Forty good CDRs all arrive once the endpoint is well again, and none of them is a dead letter."""
    world.receiver.script = Storm()
    good = numbered("good", 40)
    forwarder = await world.start(slot=1)
    await world.redis.rpush(world.source, *good)
    await all_arrive(world.receiver, good, within=103)
    assert await world.redis.llen(world.dead) == 0
    assert forwarder.events("cdr.dead_lettered") == []


@pytest.mark.slow
@pytest.mark.timeout(130)
async def test_a_rolling_deploy_that_rejects_half_of_them_kills_nothing(world: DefaultWorld) -> None:
    """20 CDRs per second for 30 s while every other answer is a 400: all 600 arrive, and none is a dead letter."""
    world.receiver.script = lambda question: (
        REJECTED if question.seconds < 30 and len(world.receiver.requests) % 2 == 0 else TAKEN
    )
    good = numbered("good", 600)
    await world.start(slot=1)
    async for number in paced(600, per_second=20):
        await world.redis.rpush(world.source, good[number])
    await all_arrive(world.receiver, good, within=70)
    assert await world.redis.llen(world.dead) == 0


@pytest.mark.slow
@pytest.mark.timeout(80)
async def test_a_429_that_never_ends_delays_that_cdr_alone(world: DefaultWorld) -> None:
    """One CDR always gets 429 with Retry-After: 5; the 2,000 others arrive within 40 s, at concurrency 8."""
    limited, slow = Answer(429, headers=(("retry-after", "5"),)), Answer(204, delay=0.1)
    # So slow that they do not arrive before the 429 comes back for the first time.
    world.receiver.script = lambda question: limited if b"limited-" in question.body else slow
    good = numbered("good", 2000)
    await world.start({"CDR_WEBHOOK_CONCURRENCY": "8"}, slot=1)
    await world.redis.rpush(world.source, *numbered("limited", 1), *good)
    await all_arrive(world.receiver, good, within=40)


@pytest.mark.slow
@pytest.mark.timeout(80)
async def test_replaying_bad_dead_letters_makes_no_outage(world: DefaultWorld) -> None:
    """Ten that are always rejected are replayed: the endpoint is not declared down, new CDRs arrive within 1 s."""
    world.receiver.script = always(REJECTED, to=b"bad-")
    bad, new = numbered("bad", 10), numbered("new", 20)
    await world.redis.rpush(world.dead, *(_dead_letter(body, number) for number, body in enumerate(bad)))
    forwarder = await world.start(slot=1)
    replay = await world.command("dead-letters", "replay")
    assert await replay.ended() == 0
    await eventually(lambda: all(world.receiver.arrived[body] for body in bad))
    for body in new:
        pushed_at = clock()
        await world.redis.rpush(world.source, body)
        await all_arrive(world.receiver, [body], within=20)
        assert world.receiver.taken_at[body] - pushed_at < 1
        await until(pushed_at + 0.3)
    assert forwarder.events("endpoint.lost") == []
    assert is_up(forwarder)


def _dead_letter(body: bytes, number: int) -> bytes:
    """Return a dead letter as the forwarder writes it."""
    letter = {
        "letter": f"{number:032x}",
        "id": webhook_id(body),
        "endpoint": "webhook",
        "source": "cdr",
        "reason": "rejected",
        "status": 400,
        "answer": "",
        "attempts": 2,
        "first_failed_at": "2026-01-01T00:00:00+00:00",
        "dead_at": "2026-01-01T00:01:00+00:00",
        "cdr": body.decode(),
    }
    return json.dumps(letter).encode()
