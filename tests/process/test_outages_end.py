"""An endpoint that was down and is well again: what waited arrives soon, and nothing is given up."""

from collections.abc import Callable

import pytest

from tests.support.forwarder import all_arrive, numbered
from tests.support.harness import eventually
from tests.support.pace import clock, paced
from tests.support.scripted import BROKEN, BUSY, TAKEN, Answer, Question
from tests.support.world import DefaultWorld


@pytest.fixture
def world(default_world: DefaultWorld) -> DefaultWorld:
    return default_world


def down_for(seconds: float) -> Callable[[Question], Answer]:
    return lambda question: BUSY if question.seconds < seconds else TAKEN


@pytest.mark.slow
@pytest.mark.timeout(130)
async def test_a_bad_cdr_at_the_head_of_an_outage_does_not_keep_the_breaker_open(world: DefaultWorld) -> None:
    """It always fails, 12 good ones wait behind it, nothing new comes: they arrive within 75 s of the outage's end."""
    outage = down_for(15)
    world.receiver.script = lambda question: BROKEN if question.body == b"bad" else outage(question)
    good = numbered("good", 12)
    await world.start(slot=1)
    await world.redis.rpush(world.source, "bad", *good)
    await eventually(lambda: world.receiver.seconds >= 15, deadline=40)
    await all_arrive(world.receiver, good, within=75)


@pytest.mark.slow
@pytest.mark.timeout(130)
async def test_all_that_waited_arrives_soon_after_the_first_2xx(world: DefaultWorld) -> None:
    """60 CDRs in an outage of 40 s: all arrive within 15 s of the first that is taken, the oldest ones too."""
    world.receiver.script = down_for(40)
    cdrs = numbered("cdr", 60)
    await world.start(slot=1)
    async for number in paced(60, per_second=2):
        await world.redis.rpush(world.source, cdrs[number])
    await eventually(lambda: world.receiver.taken, deadline=75)
    first_taken_at = min(world.receiver.taken_at.values())
    await all_arrive(world.receiver, cdrs, within=first_taken_at + 15 - clock())


@pytest.mark.slow
@pytest.mark.timeout(130)
async def test_a_few_cdrs_in_an_outage_arrive_within_a_minute_of_its_end(world: DefaultWorld) -> None:
    """Three, too few for the breaker to open, in an outage of 40 s."""
    world.receiver.script = down_for(40)
    cdrs = numbered("cdr", 3)
    await world.start(slot=1)
    await world.redis.rpush(world.source, *cdrs)
    await eventually(lambda: world.receiver.seconds >= 40, deadline=45)
    await all_arrive(world.receiver, cdrs, within=60)


class Relapse:
    """Answers 503 for 15 s, takes one, answers 503 to the next eleven, and is well from then on."""

    def __init__(self) -> None:
        self.since_outage = 0

    def __call__(self, question: Question) -> Answer:
        if question.seconds < 15:
            return BUSY
        self.since_outage += 1
        return BUSY if 1 < self.since_outage <= 12 else TAKEN


@pytest.mark.slow
@pytest.mark.timeout(130)
async def test_an_outage_longer_than_the_give_up_age_gives_nothing_up(world: DefaultWorld) -> None:
    """GIVE_UP_AFTER is 5 s, the outage 15 s, and one 503 more comes after the first 2xx: no dead letter, all arrive."""
    world.receiver.script = Relapse()
    cdrs = numbered("cdr", 12)
    await world.start({"CDR_GIVE_UP_AFTER": "5"}, slot=1)
    await world.redis.rpush(world.source, *cdrs)
    await all_arrive(world.receiver, cdrs, within=95)
    assert await world.redis.llen(world.dead) == 0
