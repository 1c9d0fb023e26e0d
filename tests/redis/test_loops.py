"""The loops of a lane on a real store, each alone, and together."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.typing import EventDict

from app.cdr import Cdr, History, Origin
from app.config.timings import Timings
from app.delivery.breaker import Breaker, State
from app.delivery.verdict import Kind, Verdict
from app.lane.adopter import Adopter
from app.lane.claimable import Claimable
from app.lane.claimer import Claimer
from app.lane.distribution import Distribution, Taker
from app.lane.incoming import Incoming
from app.lane.lane import Lane
from app.lane.lane_loops import LaneLoops
from app.lane.prober import Prober
from app.lane.sweeper import Sweeper
from app.store.budget import Budget
from app.store.keys import LaneKeys
from app.store.retry_set import member_of
from tests.redis.conftest import Deny, OpenRig
from tests.redis.rig import BRISK, MIB, Answers, Rig, acl, end_trust
from tests.support.harness import eventually, passed

FAILED = History(attempts=1, first_failed_at=1, last_failed_at=1)
REFUSED = Verdict(Kind.TRANSIENT, "connect")
Run = Callable[[], Coroutine[Any, Any, None]]


def sweeper_in(rig: Rig, incoming: Incoming | None = None, budget: Budget | None = None) -> tuple[Sweeper, Lane]:
    """Return a sweeper, and what it knows of its lane."""
    lane = rig.loops(Answers()).lane
    return Sweeper(lane, Incoming() if incoming is None else incoming, 60, budget or Budget(MIB)), lane


async def pages_read(redis: Redis) -> int:
    """Return how often sweeps have looked at a list on this server: `page.lua` does so even if it is empty."""
    stats: Any = await redis.info("commandstats")
    return int(stats.get("cmdstat_lindex", {"calls": 0})["calls"])


async def has_read_a_page(redis: Redis, before: int) -> bool:
    return await pages_read(redis) > before


def bodies(cdrs: list[Cdr]) -> list[bytes]:
    return [cdr.body for cdr in cdrs]


@asynccontextmanager
async def going(*runs: Run) -> AsyncIterator[None]:
    """Let loops run meanwhile."""
    tasks = [asyncio.create_task(run()) for run in runs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def test_sweep_finds_what_was_put_in_by_hand(rig: Rig) -> None:
    """Oldest first, once; whatever is not in flight is a stray."""
    sweeper, _ = sweeper_in(rig)
    await rig.redis.rpush(rig.slot.processing, "1", "2", "3")
    found = await sweeper.find(2)
    assert (bodies(found), {cdr.origin for cdr in found}) == ([b"1", b"2"], {Origin.STRAY})
    assert sweeper.is_behind
    assert bodies(await sweeper.find(2)) == [b"3"]
    assert not sweeper.is_behind
    assert await sweeper.find(2) == []


async def test_sweep_counts_twins(rig: Rig) -> None:
    """One of them is in flight; the other two are strays, and a retried twin hides none."""
    sweeper, lane = sweeper_in(rig)
    await rig.redis.rpush(rig.slot.processing, "twin", "twin", "twin")
    lane.new([b"twin"])
    lane.handed_out([member_of("t", FAILED, b"twin")], time.monotonic() + 60)
    assert bodies(await sweeper.find(9)) == [b"twin", b"twin"]


async def test_sweep_finds_what_is_behind_those_in_flight(rig: Rig) -> None:
    """The page is longer than what is known: a stray cannot hide."""
    sweeper, lane = sweeper_in(rig)
    await rig.redis.rpush(rig.slot.processing, *range(50), "stray")
    lane.new(str(number).encode() for number in range(50))
    assert bodies(await sweeper.find(1)) == [b"stray"]


async def test_sweep_during_a_claim_whose_answer_is_on_its_way(rig: Rig) -> None:
    """What the page shows may be about to be in flight: it is judged when that claim has ended."""
    incoming = Incoming()
    sweeper, lane = sweeper_in(rig, incoming)
    await rig.redis.rpush(rig.slot.processing, "claimed", "stray")
    before = await pages_read(rig.redis)
    with incoming.expected():
        sweeping = asyncio.create_task(sweeper.find(9))
        await eventually(lambda: has_read_a_page(rig.redis, before))
        lane.new([b"claimed"])
    assert bodies(await sweeping) == [b"stray"]


async def test_sweep_does_not_post_what_was_acked_meanwhile(rig: Rig) -> None:
    """It was in flight when the page was asked for."""
    incoming = Incoming()
    sweeper, lane = sweeper_in(rig, incoming)
    await rig.redis.rpush(rig.slot.processing, "acked")
    [cdr] = lane.new([b"acked"])
    before = await pages_read(rig.redis)
    with incoming.expected():
        sweeping = asyncio.create_task(sweeper.find(9))
        await eventually(lambda: has_read_a_page(rig.redis, before))
        lane.in_flight.remove(cdr)
    assert await sweeping == []


async def test_a_sweep_that_ends_after_a_stop_takes_nothing(rig: Rig) -> None:
    """The claimer may have ended: nobody would give it back, and it would count as cut off."""
    incoming = Incoming()
    sweeper, lane = sweeper_in(rig, incoming)
    await rig.redis.rpush(rig.slot.processing, "stray")
    before = await pages_read(rig.redis)
    with incoming.expected():
        sweeping = asyncio.create_task(sweeper.find(9))
        await eventually(lambda: has_read_a_page(rig.redis, before))
        rig.stopping.set()
    assert await sweeping == []
    assert lane.in_flight.number == 0


async def test_a_prober_claims_nothing_after_a_stop(rig: Rig) -> None:
    """Its turn began before; the claimer may have ended meanwhile, and nobody would give it back."""
    incoming, answers = Incoming(), Answers(503)
    loops = rig.loops(answers, breaker_threshold=1)
    lane = loops.lane
    sweeper = Sweeper(lane, incoming, 60, Budget(MIB))
    prober = Prober(lane, no_attempt, sweeper, incoming)
    lane.gate.record_failure(Cdr(b"x"), time.monotonic(), REFUSED, strike=False)
    lane.gate.breaker.probe_now()
    await rig.redis.rpush(rig.keys.pending, "waits")
    async with sweeper.held_off():
        probing = asyncio.create_task(prober.run())
        await eventually(lambda: lane.gate.breaker.state is State.HALF_OPEN)
        rig.stopping.set()
    await probing
    assert lane.in_flight.number == 0
    assert (await rig.pending(), await rig.processing()) == ([b"waits"], [])


async def no_attempt(_: Cdr) -> Verdict:
    raise AssertionError


async def test_sweep_counts_whose_they_were(rig: Rig, said: list[EventDict]) -> None:
    """Adopted ones are orphans, the others ours."""
    sweeper, lane = sweeper_in(rig)
    sweeper.from_others = 1
    await rig.redis.rpush(rig.slot.processing, "1", "2")
    await sweeper.find(9)
    assert dict(lane.metrics.recovered) == {"orphan": 1, "own": 1}
    assert [event["event"] for event in said if event["event"] == "sweep.recovered"]


def bad_link() -> Budget:
    """Return what is left of it after some lost replies."""
    budget = Budget(MIB)
    budget.lost(1000)
    return budget


async def test_on_a_bad_link_strays_are_put_back(rig: Rig) -> None:
    """In order, before what is pending; and what is deferred does not matter."""
    sweeper, lane = sweeper_in(rig, budget=bad_link())
    await rig.redis.rpush(rig.slot.processing, "1", "2", "2", "3")
    await rig.redis.rpush(rig.keys.pending, "4")
    lane.handed_out([member_of("t", FAILED, b"5")], time.monotonic() + 60)
    async with going(sweeper.run):
        await eventually(lambda: is_gone(rig.redis, rig.slot.processing))
        await eventually(lambda: not sweeper.is_behind)
    assert await rig.pending() == [b"1", b"2", b"2", b"3", b"4"]
    assert lane.metrics.recovered["own"] == 4


async def test_on_a_bad_link_nothing_is_put_back_that_may_be_in_flight(rig: Rig) -> None:
    """It waits for what is delivered, and for claims that are under way; nothing new is claimed meanwhile."""
    incoming = Incoming()
    sweeper, lane = sweeper_in(rig, incoming, bad_link())
    await rig.redis.rpush(rig.slot.processing, "delivered", "claimed", "stray")
    [delivered] = lane.new([b"delivered"])
    async with going(sweeper.run):
        with incoming.expected():
            lane.in_flight.remove(delivered)
            await rig.redis.lrem(rig.slot.processing, 1, "delivered")
            sweeper.wake()
            await eventually(lambda: sweeper.is_behind)
            [claimed] = lane.new([b"claimed"])
        sweeper.wake()
        await asyncio.sleep(0)
        assert await rig.processing() == [b"claimed", b"stray"]
        await rig.redis.lrem(rig.slot.processing, 1, "claimed")
        lane.in_flight.remove(claimed)
        sweeper.wake()
        await eventually(lambda: is_gone(rig.redis, rig.slot.processing))
    assert await rig.pending() == [b"stray"]


async def test_on_a_bad_link_what_cannot_be_put_back_is_swept(rig: Rig) -> None:
    """Pending has the wrong type, say."""
    sweeper, lane = sweeper_in(rig, budget=bad_link())
    await rig.redis.set(rig.keys.pending, "of somebody")
    await rig.redis.rpush(rig.slot.processing, "stray")
    async with going(sweeper.run):
        await eventually(lambda: len(lane.inbox))
    assert await rig.processing() == [b"stray"]


async def test_a_stray_is_delivered_during_busy_claims(rig: Rig) -> None:
    """Nothing is paused for it, and nothing is delivered twice."""
    answers = Answers()
    cdrs = [str(number).encode() for number in range(2000)]
    await rig.redis.rpush(rig.keys.pending, *cdrs)
    await rig.redis.rpush(rig.slot.processing, "stray", "stray")
    async with rig.running(rig.loops(answers, concurrency=16)):
        await eventually(lambda: len(answers.bodies) >= 2002)
        await eventually(lambda: is_gone(rig.redis, rig.slot.processing))
    assert Counter(answers.bodies) == Counter([*cdrs, b"stray", b"stray"])


async def is_gone(redis: Redis, *keys: str) -> bool:
    return not await redis.exists(*keys)


async def test_only_a_probe_while_the_gate_is_shut(rig: Rig) -> None:
    """A sweep that is due brings one stray, as probe; the others stay where they are."""
    answers = Answers(503)
    loops = rig.loops(answers, breaker_threshold=1)
    loops.lane.gate.record_failure(Cdr(b"x"), time.monotonic(), REFUSED, strike=False)
    loops.lane.gate.breaker.probe_now()
    await rig.redis.rpush(rig.slot.processing, "1", "2", "3")
    async with rig.running(loops):
        await eventually(lambda: answers.bodies)
        await eventually(lambda: loops.lane.gate.breaker.state is State.OPEN)
    assert set(answers.bodies) == {b"1"}
    assert await rig.processing() == [b"2", b"3"]


async def test_what_is_adopted_is_delivered(open_rig: OpenRig) -> None:
    """Two looks at a list without owner, half a lease apart, make it an orphan."""
    rig, answers = await open_rig(lease="0.5"), Answers()
    began = time.monotonic()
    await rig.redis.rpush(rig.keys.slot(7).processing, "left", "behind")
    loops = rig.loops(answers)
    async with rig.running(loops):
        await eventually(lambda: len(answers.bodies) == 2)
        assert time.monotonic() - began >= rig.lease.seconds / 2
        await eventually(lambda: is_gone(rig.redis, rig.slot.processing))
    assert answers.bodies == [b"left", b"behind"]
    assert loops.lane.metrics.recovered["orphan"] == 2


def adopter_of(rig: Rig) -> Adopter:
    return Adopter(
        link=rig.link,
        lease=rig.lease,
        queue=rig.queue(),
        keys=rig.keys,
        incoming=Incoming(),
        may_adopt=lambda: True,
        on_adopted=lambda _: None,
        stopping=rig.stopping,
    )


async def test_an_owner_between_two_looks(open_rig: OpenRig) -> None:
    """A live process had it, if only for a moment: the time begins anew."""
    rig = await open_rig(lease="0.5")
    orphan = rig.keys.slot(7)
    await rig.redis.rpush(orphan.processing, "theirs")
    adopter = adopter_of(rig)
    await adopter.look()
    await passed(rig.lease.seconds / 2)
    await rig.redis.set(orphan.owner, rig.lease.value, px=60_000)
    assert await adopter.look() == 0
    await rig.redis.delete(orphan.owner)
    assert await adopter.look() == 0
    assert await rig.elements(orphan.processing) == [b"theirs"]


async def test_a_list_of_the_wrong_type_is_told_once(open_rig: OpenRig, said: list[EventDict]) -> None:
    """With its name, and the others are adopted; told again when it comes again."""
    rig = await open_rig(lease="0.5")
    wrong, orphan = rig.keys.slot(5), rig.keys.slot(7)
    await rig.redis.set(wrong.processing, "of somebody")
    await rig.redis.rpush(orphan.processing, "1")
    adopter = adopter_of(rig)
    await adopter.look()
    await passed(rig.lease.seconds / 2)
    await rig.lease.renew(rig.slot)
    assert await adopter.look() == 1
    assert [event["key"] for event in said if event["event"] == "key.wrong_type"] == [wrong.processing]


async def test_a_page_at_a_time(open_rig: OpenRig) -> None:
    """The next one is adopted when all of the last were taken by a sweep."""
    pauses = replace(BRISK, claim_wait=0.02, full_pause=0.2)
    rig = await open_rig(timings=replace(pauses, adopted=3, prefetch=1), lease="0.5")
    orphans, answers = rig.keys.slot(7).processing, Answers()
    answers.open.clear()
    await rig.redis.rpush(orphans, *range(5))
    async with rig.running(rig.loops(answers, concurrency=1)) as loops:
        await eventually(lambda: loops.lane.in_flight.number == 2)
        # then: there is no room for the third, so no other page is moved
        await passed(rig.lease.seconds)
        assert await rig.elements(orphans) == [b"3", b"4"]
        answers.open.set()
        await eventually(lambda: len(answers.bodies) == 5)
    assert answers.bodies == [b"0", b"1", b"2", b"3", b"4"]


async def test_given_back_in_order_at_a_stop(rig: Rig) -> None:
    """What was claimed and not attempted is pending again, as it was; no POST is made for it."""
    answers = Answers()
    answers.open.clear()
    await rig.redis.rpush(rig.keys.pending, *range(10))
    async with rig.running(rig.loops(answers, concurrency=1)) as loops:
        await eventually(lambda: answers.bodies and len(loops.lane.inbox) > 0)
        rig.stopping.set()
        await eventually(lambda: not loops.lane.inbox)
        answers.open.set()
    assert answers.bodies == [b"0"]
    assert await rig.pending() == [str(number).encode() for number in range(1, 10)]
    assert await rig.processing() == []


async def test_given_back_in_order_though_a_claim_is_on_its_way(rig: Rig) -> None:
    """What it brings at a stop is newer than what waits in the inbox."""
    await rig.redis.rpush(rig.slot.processing, "1", "2")
    await rig.redis.rpush(rig.keys.pending, "3")
    incoming, budget = Incoming(), Budget(MIB)
    sweeper, lane = sweeper_in(rig, incoming, budget)
    claimer = Claimer(lane, Claimable(lane, sweeper, budget), incoming, sweeper, budget)
    lane.inbox.put(lane.new([b"1"]))
    rig.stopping.set()
    with incoming.expected():
        began = time.monotonic()
        stopping = asyncio.create_task(claimer.run())
        await eventually(lambda: claimer.heartbeat_at > began)
        lane.inbox.put(lane.new([b"2"]))
    claimer.wake()
    await stopping
    assert (await rig.pending(), await rig.processing()) == ([b"1", b"2", b"3"], [])


async def test_given_back_in_order_when_the_breaker_opens(rig: Rig) -> None:
    """Others may deliver them meanwhile; retried ones are due again, strays stay for a sweep."""
    answers = Answers()
    answers.open.clear()
    now = await rig.now()
    retried = [member_of(f"t-{number}", FAILED, b"retried") for number in range(2)]
    await rig.redis.zadd(rig.keys.retry, dict.fromkeys(retried, now - 5))
    await rig.redis.rpush(rig.keys.pending, *range(10))
    async with rig.running(rig.loops(answers, concurrency=2)) as loops:
        lane = loops.lane
        await eventually(lambda: len(answers.bodies) == 2 and len(lane.inbox) > 0)
        for number in range(10):
            lane.gate.breaker.record_failure(str(number), time.monotonic(), REFUSED)
        lane.gate.breaker.probe_at += 60
        lane.wake()
        await eventually(lambda: not lane.inbox and not lane.outbox)
        posted = set(answers.bodies)
        pending = await rig.pending()
        assert pending == [b for b in (str(number).encode() for number in range(10)) if b not in posted]
        in_hand = Counter(answers.bodies)[b"retried"]
        assert (len(await rig.retry()), len(await rig.retrying())) == (2 - in_hand, in_hand)
        answers.open.set()


async def test_a_refused_settlement_stays_in_flight_and_is_repeated(limited_rig: Rig, deny: Deny) -> None:
    """It is not posted again, and is done once the right is back."""
    rig, answers = limited_rig, Answers()
    await deny("lrem")
    await rig.redis.rpush(rig.keys.pending, "acked")
    async with rig.running(rig.loops(answers)) as loops:
        outbox = loops.lane.outbox
        await eventually(lambda: outbox.next_try_at < math.inf)
        first = outbox.next_try_at
        await eventually(lambda: first < outbox.next_try_at < math.inf)
        assert loops.lane.in_flight.number == 1
        await acl(rig.redis, "SETUSER", rig.settings.integrator, "+lrem")
        await eventually(lambda: is_gone(rig.redis, rig.slot.processing))
        await eventually(lambda: not loops.lane.in_flight.number)
    assert answers.bodies == [b"acked"]


async def test_an_ack_that_finds_nothing_makes_a_sweep(open_rig: OpenRig, said: list[EventDict]) -> None:
    """Somebody has touched our list: look what else is in it, and not an interval later."""
    rig = await open_rig(sweep_interval="600")
    answers, before = Answers(), await pages_read(rig.redis)
    answers.open.clear()
    await rig.redis.rpush(rig.keys.pending, "1")
    async with rig.running(rig.loops(answers)) as loops:
        await eventually(lambda: answers.bodies)
        await eventually(lambda: has_read_a_page(rig.redis, before))
        await rig.redis.delete(rig.slot.processing)
        await rig.redis.rpush(rig.slot.processing, "stray")
        answers.open.set()
        await eventually(lambda: b"stray" in answers.bodies)
    assert loops.lane.metrics.acks_lost == 1
    assert "ack.found_nothing" in [event["event"] for event in said]


@asynccontextmanager
async def probing(loops: LaneLoops) -> AsyncIterator[Breaker]:
    """Let the breaker be open, and a probe be due; the next one is a second away."""
    gate = loops.lane.gate
    gate.record_failure(Cdr(b"x"), time.monotonic(), REFUSED, strike=False)
    gate.breaker.probe_now()
    async with going(loops.prober.run):
        yield gate.breaker


def has_probed(breaker: Breaker) -> bool:
    return breaker.state is State.OPEN and breaker.probe_at > time.monotonic()


async def test_probes_go_in_pairs(rig: Rig) -> None:
    """A never-attempted one, and if that fails the earliest deferred, due or not."""
    answers = Answers()
    answers.statuses = {b"new": 503}
    later = await rig.now() + 600_000
    await rig.redis.rpush(rig.keys.pending, "new", "newer")
    await rig.redis.zadd(rig.keys.retry, {member_of("t", FAILED, b"deferred"): later})
    loops = rig.loops(answers, breaker_threshold=1)
    async with probing(loops) as breaker:
        await eventually(lambda: breaker.is_closed)
    assert answers.bodies == [b"new", b"deferred"]


async def test_one_probe_where_the_first_is_accepted(rig: Rig) -> None:
    """The breaker is closed: the workers do the rest."""
    answers = Answers()
    await rig.redis.rpush(rig.keys.pending, "new", "newer")
    await rig.redis.zadd(rig.keys.retry, {member_of("t", FAILED, b"deferred"): 1})
    loops = rig.loops(answers, breaker_threshold=1)
    async with probing(loops) as breaker:
        await eventually(lambda: breaker.is_closed)
    assert answers.bodies == [b"new"]


async def test_never_the_same_one_twice(rig: Rig) -> None:
    """The second of a pair is another CDR, though a twin of the first is due before it."""
    answers = Answers(503)
    await rig.redis.rpush(rig.keys.pending, "same")
    await rig.redis.zadd(rig.keys.retry, {member_of("t-1", FAILED, b"same"): 1, member_of("t-2", FAILED, b"other"): 2})
    loops = rig.loops(answers, breaker_threshold=1)
    async with probing(loops) as breaker:
        await eventually(lambda: has_probed(breaker))
    assert answers.bodies == [b"same", b"other"]


@pytest.mark.parametrize(("status", "wait"), [(500, 1), (404, 2), (503, 2)])
async def test_the_interval(rig: Rig, status: int, wait: float) -> None:
    """It stays at a second while CDRs are refused by an endpoint that is there, until each had its turn."""
    await rig.redis.rpush(rig.keys.pending, "1")
    await rig.redis.zadd(
        rig.keys.retry, {member_of(f"t-{number}", FAILED, b"%d" % number): 1 for number in range(2, 6)}
    )
    loops = rig.loops(Answers(status), breaker_threshold=1)
    async with probing(loops) as breaker:
        await eventually(lambda: has_probed(breaker))
    assert breaker.probe_at - time.monotonic() == pytest.approx(wait, abs=0.3)


async def test_nothing_to_probe_with(rig: Rig) -> None:
    """It says so, for distribution, and looks again."""
    loops = rig.loops(Answers(), breaker_threshold=1)
    async with probing(loops) as breaker:
        await eventually(lambda: loops.prober.wants_new and has_probed(breaker))
        await rig.redis.rpush(rig.keys.pending, "1")
        breaker.probe_now()
        loops.prober.wake()
        await eventually(lambda: breaker.is_closed)
    assert not loops.prober.wants_new


async def test_no_probe_during_a_hold(rig: Rig) -> None:
    """A hold that came while it was claimed: it waits in the inbox."""
    answers = Answers()
    await rig.redis.rpush(rig.keys.pending, "1")
    loops = rig.loops(answers, breaker_threshold=1)
    # when: the answer to its claim is late, and the hold comes meanwhile
    await rig.redis.client_pause(200)
    async with probing(loops) as breaker:
        await eventually(lambda: breaker.state is State.HALF_OPEN)
        loops.lane.gate.hold(30)
        await eventually(lambda: len(loops.lane.inbox) == 1 and has_probed(breaker))
    assert answers.bodies == []


async def test_too_late_to_be_posted(rig: Rig) -> None:
    """Another process may be handed it during the attempt: it is forgotten, however many there are."""
    answers = Answers()
    loops = rig.loops(answers)
    lane = loops.lane
    members = [member_of(f"t-{number}", FAILED, b"late") for number in range(3000)]
    lane.inbox.put(lane.handed_out(members, time.monotonic() + lane.timeout - 1))
    in_time = lane.handed_out([member_of("t", FAILED, b"in time")], time.monotonic() + lane.timeout + 30)
    lane.inbox.put(in_time)
    async with rig.running(loops):
        await eventually(lambda: answers.bodies and not lane.in_flight.number)
    assert answers.bodies == [b"in time"]


async def test_members_in_hand_are_not_taken_twice(rig: Rig) -> None:
    """A claim that returns one of them is ignored."""
    lane = rig.loops(Answers()).lane
    member = member_of("t", FAILED, b"x")
    assert len(lane.handed_out([member], 1)) == 1
    assert lane.handed_out([member], 1) == []


async def test_delivered_when_the_lease_is_held_again(rig: Rig) -> None:
    """Redis was away for longer than the lease: what waits in the inbox is posted, though nothing new comes."""
    answers = Answers()
    await end_trust(rig)
    loops = rig.loops(answers)
    await rig.redis.rpush(rig.slot.processing, "waits")
    loops.lane.inbox.put(loops.lane.strays([b"waits"]))
    began = time.monotonic()
    async with going(loops.run):
        await eventually(lambda: loops.claimer.heartbeat_at > began)
        assert answers.bodies == []
        await rig.lease.renew(rig.slot)
        await eventually(lambda: answers.bodies == [b"waits"], 5)


async def test_distribution_feeds_each_lane(open_rig: OpenRig) -> None:
    """Those that pass, and one CDR to a lane that is shut and has nothing to probe with."""
    rig = await open_rig(endpoints=("a", "b"))
    lanes = [rig.topology.lane(name) for name in ("a", "b")]
    shut = [False, False]

    def taker(number: int, keys: LaneKeys) -> Taker:
        return Taker(keys, lambda: not shut[number], lambda: shut[number])

    takers = [taker(number, keys) for number, keys in enumerate(lanes)]
    timings = Timings(claim_wait=0.1, first_probe=0.02, full_pause=0.01, idle_pause=0.02)
    distribution = Distribution(rig.queue(), rig.lease, takers, timings, rig.stopping)
    running = asyncio.create_task(distribution.run())
    await rig.redis.rpush(rig.keys.pending, "1")
    await eventually(lambda: has(rig, lanes[1], b"1"))
    shut[:] = [True, True]
    await rig.redis.delete(*(keys.pending for keys in lanes))
    await rig.redis.rpush(rig.keys.pending, "2", "3", "4")
    await eventually(lambda: has(rig, lanes[0], b"2"))
    rig.stopping.set()
    await running
    assert await rig.elements(lanes[0].pending) == await rig.elements(lanes[1].pending)
    assert len(await rig.pending() + await rig.processing()) >= 1


async def has(rig: Rig, keys: LaneKeys, body: bytes) -> bool:
    return body in await rig.elements(keys.pending)
