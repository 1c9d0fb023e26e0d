"""Keys of the wrong type, and a right that is taken away: told, and nothing else stops."""

from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.forwarder import all_arrive, default_environment, errors_that_name, is_up, numbered, owns_a_list
from tests.support.harness import eventually
from tests.support.pace import clock, paced, until
from tests.support.scripted import REJECTED, TAKEN, ScriptedReceiver
from tests.support.world import DefaultWorld


@pytest.fixture
def world(own_default_world: DefaultWorld) -> DefaultWorld:
    return own_default_world


@pytest.mark.slow
@pytest.mark.timeout(100)
@pytest.mark.parametrize("place", ["processing:cdr:7", "retry:cdr", "retrying:cdr"])
async def test_a_key_of_the_wrong_type_is_told_and_stops_nothing(place: str, world: DefaultWorld) -> None:
    """The list of a slot that nobody uses, or the retry set: deliveries and acks go on, one error event names the key.

    It is told once: there are several more looks at it during the 30 s of this scene.
    """
    key = f"{world.integrator}:{place}"
    await world.redis.set(key, "not of this type")
    forwarder = await world.start(slot=1)
    cdrs = numbered("cdr", 60)
    async for number in paced(60, per_second=2):
        await world.redis.rpush(world.source, cdrs[number])
    await all_arrive(world.receiver, cdrs, within=5)
    await eventually(lambda: _is_empty(world.redis, world.processing), deadline=5)
    assert len(errors_that_name(forwarder, key)) == 1
    assert max(world.receiver.arrived.values()) == 1
    assert is_up(forwarder)


@pytest.mark.slow
@pytest.mark.timeout(130)
async def test_a_dead_letter_key_of_the_wrong_type_is_told_and_stops_nothing(world: DefaultWorld) -> None:
    """Ten CDRs that should become dead letters cannot: that is told, and others are delivered and acked."""
    world.receiver.script = lambda question: REJECTED if b"bad-" in question.body else TAKEN
    bad, good = numbered("bad", 10), numbered("good", 10)
    await world.redis.set(world.dead, "not a list")
    forwarder = await world.start(slot=1)
    await world.redis.rpush(world.source, *(cdr for pair in zip(good, bad, strict=True) for cdr in pair))
    async for number in paced(85, per_second=1):
        await world.redis.rpush(world.source, f"before-{number}")
        if errors_that_name(forwarder, world.dead):
            break
    assert errors_that_name(forwarder, world.dead)
    after = numbered("after", 20)
    await world.redis.rpush(world.source, *after)
    await all_arrive(world.receiver, after, within=10)
    await eventually(lambda: _holds_at_most(world.redis, world.processing, set(bad)), deadline=5)
    assert max(world.receiver.arrived[cdr] for cdr in bad) <= 3
    assert is_up(forwarder)


async def _is_empty(client: Redis, key: str) -> bool:
    return not await client.exists(key)


async def _holds_at_most(client: Redis, key: str, bodies: set[bytes]) -> bool:
    return set(await client.lrange(key, 0, -1)) <= bodies


@dataclass(frozen=True)
class Lanes:
    """The receivers of two named endpoints."""

    one: ScriptedReceiver
    other: ScriptedReceiver

    @property
    def endpoints(self) -> dict[str, str]:
        return {"endpoints__one__url": self.one.url, "endpoints__other__url": self.other.url}

    def both_have(self, bodies: list[bytes]) -> bool:
        return all(body in lane.taken for body in bodies for lane in (self.one, self.other))


USER, PASSWORD = "forwarder", "for-tests"


@pytest.mark.slow
@pytest.mark.timeout(110)
async def test_a_right_that_is_taken_away_leaves_each_cdr_in_all_lanes_or_in_none(
    world: DefaultWorld, second: ScriptedReceiver
) -> None:
    """LPOP is taken from our ACL user at run time: an event names it, no CDR is multiplied, and all arrive later."""
    lanes = Lanes(world.receiver, second)
    await _set_user(world.redis, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    url = world.server.url.replace("redis://", f"redis://{USER}:{PASSWORD}@")
    forwarder = await world.launch(default_environment(url, world.integrator, **lanes.endpoints), "run")
    await owns_a_list(world.redis, world.integrator)
    await world.redis.rpush(world.source, "before")
    await eventually(lambda: lanes.both_have([b"before"]))
    await _set_user(world.redis, "-lpop")
    cdrs = numbered("cdr", 5)
    pushed_at = clock()
    await world.redis.rpush(world.source, *cdrs)
    await until(pushed_at + 12)
    assert [world.receiver.arrived[cdr] for cdr in cdrs] == [second.arrived[cdr] for cdr in cdrs]
    assert max(world.receiver.arrived[cdr] for cdr in cdrs) <= 1
    assert errors_that_name(forwarder, "lpop") or lanes.both_have(cdrs)
    await _set_user(world.redis, "+lpop")
    for lane in (world.receiver, second):
        await all_arrive(lane, cdrs, within=60)
        assert max(lane.arrived.values()) <= 2


async def _set_user(client: Redis, *rules: str) -> None:
    send: Any = client.execute_command
    await send("ACL", "SETUSER", USER, *rules)
