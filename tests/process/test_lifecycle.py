"""How a forwarder starts, stops and dies: real processes, real signals."""

import json
import signal
from collections import Counter
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.conftest import StartChild
from tests.support.harness import Child, environment, eventually, gone
from tests.support.http_faults import Connection, serve
from tests.support.receiver import Receiver
from tests.support.repository import ROOT
from tests.support.world import World


def stops_said(forwarder: Child, count: int) -> bool:
    return len(forwarder.events("service.stopping")) == count


FAILING = {"CDR_WEBHOOK_BACKOFF": "30", "CDR_WEBHOOK_BACKOFF_MAX": "30"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_forwarder_stops_at_once(number: signal.Signals, world: World) -> None:
    """The waiting claim is unblocked, the lease given back, the exit status 0."""
    forwarder = await world.start()
    await eventually(lambda: forwarder.events("slot.taken"))
    forwarder.signal(number)
    assert await forwarder.ended(deadline=5) == 0
    assert not await world.redis.exists(f"{world.processing}:owner")


async def test_a_claim_that_waits_in_redis_does_not_delay_a_stop(world: World) -> None:
    """It is ended from outside, and not waited for: that could take two seconds."""
    forwarder = await world.start()
    await eventually(lambda: forwarder.events("slot.taken"))
    await eventually(lambda: a_claim_begins_to_wait(world.redis))
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended(deadline=5) == 0
    assert seconds_between(forwarder, "service.stopping", "service.stopped") < 1


async def a_claim_begins_to_wait(client: Redis) -> bool:
    waiting = [one for one in await client.client_list() if one["cmd"] == "blmove" and "b" in one["flags"]]
    return any(one["idle"] == "0" for one in waiting)


def seconds_between(forwarder: Child, first: str, then: str) -> float:
    times = [datetime.fromisoformat(forwarder.events(name)[0]["timestamp"]) for name in (first, then)]
    return (times[1] - times[0]).total_seconds()


async def test_attempts_on_the_wire_may_finish(world: World) -> None:
    """SIGTERM within the grace: what was being delivered is delivered and acked, and no more is claimed."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, *(f"cdr {number}" for number in range(40)))
    forwarder = await world.start({"CDR_WEBHOOK_CONCURRENCY": "8"})
    await eventually(lambda: world.receiver.at_the_gate == 8)
    forwarder.signal(signal.SIGTERM)
    await eventually(lambda: forwarder.events("service.stopping"))
    world.receiver.gate.set()
    assert await forwarder.ended() == 0
    assert world.receiver.bodies.total() == 8
    assert (await world.redis.llen(world.source), await world.redis.llen(world.processing)) == (32, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("grace", "signals"), [("0.2", 1), ("60", 2)], ids=["grace over", "second signal"])
async def test_an_attempt_that_is_cut_off_is_not_lost(
    grace: str, signals: int, number: signal.Signals, world: World
) -> None:
    """Exit status 3; the CDR is in processing, and the next process delivers it."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "slow")
    forwarder = await world.start({"CDR_SHUTDOWN_GRACE": grace})
    await eventually(lambda: world.receiver.at_the_gate)
    for count in range(1, signals + 1):
        forwarder.signal(number)
        await eventually(partial(stops_said, forwarder, count))
    assert await forwarder.ended(deadline=5) == 3
    assert forwarder.events("grace.exceeded")[0]["cut_off"] == 1
    assert await world.redis.lrange(world.processing, 0, -1) == [b"slow"]
    assert not await world.redis.exists(f"{world.processing}:owner")
    world.receiver.gate.set()
    await world.start()
    await eventually(lambda: gone(world.redis, world.processing))
    assert world.receiver.bodies[b"slow"] >= 1


async def test_what_waits_for_another_try_is_left_at_once(world: World) -> None:
    """A stop does not wait for a backoff; the next process goes on counting its attempts."""
    retry, retrying = world.retry, world.retrying
    world.receiver.status = 503
    await world.redis.rpush(world.source, "unlucky")
    forwarder = await world.start(FAILING)
    await eventually(lambda: world.redis.exists(retry))
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended(deadline=5) == 0
    assert await gone(world.redis, world.processing, retrying)
    assert await world.redis.zcard(retry) == 1
    assert not await world.redis.exists(f"{world.processing}:owner")
    world.receiver.status = 204
    members: Any = await world.redis.zrange(retry, 0, -1)
    await world.redis.zadd(retry, dict.fromkeys(members, 0))
    await world.start()
    await eventually(lambda: gone(world.redis, retry, retrying))
    assert [arrival.attempt for arrival in world.receiver.arrivals][-2:] == [
        len(world.receiver.arrivals) - 1,
        len(world.receiver.arrivals),
    ]


async def test_a_stop_gives_back_what_was_claimed_and_not_attempted_in_order(world: World) -> None:
    """It is pending again, the oldest first, before the attempts on the wire have ended."""
    pushed = [b"cdr %d" % number for number in range(40)]
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, *pushed)
    forwarder = await world.start({"CDR_WEBHOOK_CONCURRENCY": "8"})
    await eventually(lambda: world.receiver.at_the_gate == 8)
    await eventually(lambda: is_long(world.redis, world.processing, 9))
    forwarder.signal(signal.SIGTERM)
    await eventually(lambda: holds_only(world.redis, world.source, pushed[8:]))
    assert await world.redis.llen(world.processing) == 8
    world.receiver.gate.set()
    assert await forwarder.ended() == 0
    assert world.receiver.bodies == Counter(pushed[:8])


async def test_a_stop_gives_back_what_the_retry_set_had_handed_out(world: World) -> None:
    """Due at once, so that others need not wait for the end of its visibility; no attempt is made at a stop."""
    retry, retrying = world.retry, world.retrying
    await world.redis.zadd(retry, {f"cdr1 token-{number} 1 0 1 0 1 - 0 0\ncdr {number}": 1 for number in range(8)})
    world.receiver.gate.clear()
    forwarder = await world.start({"CDR_WEBHOOK_CONCURRENCY": "4"})
    await eventually(lambda: world.receiver.at_the_gate == 4)
    in_hand = await world.redis.zcard(retrying)
    forwarder.signal(signal.SIGTERM)
    await eventually(lambda: forwarder.events("service.stopping"))
    world.receiver.gate.set()
    assert await forwarder.ended() == 0
    assert in_hand >= 4
    assert await gone(world.redis, retrying)
    assert (world.receiver.bodies.total(), await world.redis.zcard(retry)) == (4, 4)


async def is_long(client: Redis, key: str, length: int) -> bool:
    """Tell whether a list has so many elements, or more."""
    return bool(await client.llen(key) >= length)


async def holds_only(client: Redis, key: str, wanted: list[bytes]) -> bool:
    return bool(await client.lrange(key, 0, -1) == wanted)


async def test_a_killed_forwarder_loses_nothing(world: World) -> None:
    """SIGKILL in the middle of deliveries: another process adopts them when the lease ends."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "a", "b", "b")
    victim = await world.start()
    await eventually(lambda: world.receiver.at_the_gate == 3)
    await world.start()
    await victim.kill()
    world.receiver.gate.set()
    await eventually(lambda: gone(world.redis, world.source, world.processing, f"{world.processing}:2"))
    assert world.receiver.bodies[b"a"] >= 1
    assert world.receiver.bodies[b"b"] >= 2


async def test_a_forwarder_frozen_past_its_lease_leaves_alone_what_is_anothers(world: World) -> None:
    """Thawed behind the end of its lease it acks nothing that its slot's new owner has, and takes another slot."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "twin")
    frozen = await world.start({"CDR_SWEEP_INTERVAL": "3600"})
    await eventually(lambda: world.receiver.at_the_gate == 1)
    frozen.signal(signal.SIGSTOP)
    await eventually(lambda: gone(world.redis, f"{world.processing}:owner"))
    # given: another process in its slot, with a twin of what it is delivering
    await world.redis.set(f"{world.processing}:owner", somebody(world.source), px=60_000)
    await world.redis.hset(f"{world.processing}:ops", mapping={"owner": somebody(world.source)})
    # when: it is thawed and its endpoint answers
    frozen.signal(signal.SIGCONT)
    world.receiver.gate.set()
    await eventually(lambda: [event["slot"] for event in frozen.events("slot.taken")] == [1, 2])
    await world.redis.rpush(world.source, "new")
    await eventually(lambda: world.receiver.bodies[b"new"])
    # then: the list and the lease are as their owner left them
    assert await world.redis.lrange(world.processing, 0, -1) == [b"twin"]
    assert await world.redis.get(f"{world.processing}:owner") == somebody(world.source).encode()
    assert frozen.events("slot.lost")


def somebody(source: str) -> str:
    return json.dumps({"id": "somebody", "host": "elsewhere", "source": source, "endpoints": {"webhook": ""}})


async def test_a_forwarder_frozen_past_its_lease_loses_nothing(world: World) -> None:
    """SIGSTOP for longer than the lease: another adopts, and the thawed one acks only what is its own."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, "a", "b", "b")
    frozen = await world.start()
    await eventually(lambda: world.receiver.at_the_gate == 3)
    other = await world.start()
    await eventually(lambda: other.events("slot.taken"))
    frozen.signal(signal.SIGSTOP)
    await eventually(lambda: other.events("cdrs.adopted"))
    world.receiver.gate.set()
    frozen.signal(signal.SIGCONT)
    await world.redis.rpush(world.source, "c", "b")
    await eventually(lambda: gone(world.redis, world.source, world.processing, f"{world.processing}:2"))
    assert world.receiver.bodies[b"b"] >= 3
    assert world.receiver.bodies.keys() == {b"a", b"b", b"c"}


async def test_two_forwarders_share_the_work(world: World) -> None:
    """With the same configuration, side by side; in calm nothing is delivered twice."""
    forwarders = [await world.start() for _ in range(2)]
    for forwarder in forwarders:
        await eventually(partial(forwarder.events, "slot.taken"))
    pushed = [f"cdr {number}" for number in range(500)]
    await world.redis.rpush(world.source, *pushed)
    await eventually(lambda: gone(world.redis, world.source, world.processing, f"{world.processing}:2"))
    assert world.receiver.bodies == dict.fromkeys(map(str.encode, pushed), 1)
    assert all(forwarder.events("cdr.delivered") for forwarder in forwarders)


async def test_a_stop_before_redis_answers_is_prompt(start_child: StartChild, receiver: Receiver) -> None:
    """Nothing is in flight, so there is nothing to wait for."""
    forwarder = await start_child(environment("redis://127.0.0.1:1/0", receiver.url, "early"), "run")
    await eventually(lambda: forwarder.events("redis.lost"))
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended(deadline=5) == 0


async def test_a_stop_while_redis_says_nothing_is_prompt(start_child: StartChild, receiver: Receiver) -> None:
    """Redis takes the connection and never answers: a stop does not wait for that."""
    async with serve(asks_and_hears_nothing) as silent:
        redis_url = f"redis://127.0.0.1:{silent.port}/0"
        forwarder = await start_child(environment(redis_url, receiver.url, "early"), "run")
        await eventually(lambda: forwarder.events("service.started"))
        await silent.until(lambda server: server.open_connections > 0)
        forwarder.signal(signal.SIGTERM)
        assert await forwarder.ended(deadline=5) == 0
    assert seconds_between(forwarder, "service.stopping", "service.stopped") < 2


async def asks_and_hears_nothing(connection: Connection) -> None:
    await connection.left()


async def test_a_crash_is_told_and_loses_nothing(world: World, tmp_path: Path) -> None:
    """Exit status 1 and one line with the reason; what was claimed stays, and the next process delivers it."""
    await world.redis.rpush(world.source, "unlucky")
    forwarder = await world.start(with_fault(tmp_path))
    assert await forwarder.ended() == 1
    [crash] = forwarder.events("service.crashed")
    assert crash["level"] == "error"
    assert "RuntimeError: out of cheese" in crash["exception"]
    assert await world.redis.lrange(world.processing, 0, -1) == [b"unlucky"]
    await world.start()
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == {b"unlucky": 1}


def with_fault(directory: Path) -> dict[str, str]:
    """Return variables with which every Python process is started with a bug in it."""
    bug = "raise RuntimeError('out of cheese')"
    code = f"from app.delivery.attempt import Attempt\nasync def post(*_):\n    {bug}\nAttempt.post = post\n"
    (directory / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{directory}:{ROOT}"}


async def test_bad_configuration_is_told_at_once(start_child: StartChild) -> None:
    """Exit status 2, a line for each problem, and no traceback."""
    child = await start_child({"CDR_LEASE": "soon", "CDR_LEESE": "1"})
    assert await child.ended() == 2
    said = child.events()
    assert {line["event"] for line in said} == {"configuration.refused"}
    assert [line["problem"].split(":")[0] for line in said] == ["CDR_LEESE", "CDR_WEBHOOK_URL", "CDR_LEASE"]
    assert "Traceback" not in child.log.read_text()
