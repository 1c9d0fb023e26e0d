"""Pushes, claims, deliveries, failures, crashes, sweeps and adoptions in any order, against a model.

The real scripts, driven by `Queue`; one step at a time, and each ends.
"""

import asyncio
from collections import Counter
from itertools import count
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from app.cdr import NEVER_FAILED, Cdr, History, Origin
from app.cli.reroute import Reroute
from app.config.settings import Settings
from app.dead_letters.letter import dead_letter
from app.dead_letters.store import DeadStore, Letter
from app.demo.embedded import EmbeddedRedis
from app.errors import CommandError, FencedError
from app.lane import settlements
from app.store.client import Link
from app.store.clock import RedisClock
from app.store.exchange import Exchanged, Settlement, Wanted
from app.store.keys import LaneKeys, Topology
from app.store.lease import Lease
from app.store.owner import Owner, new_process_id
from app.store.queue import Queue
from app.store.retry_set import Tokens, read_member
from tests.support.harness import environment, settings_from

PAYLOADS = [b"twin", b"one", b"\xff\x00", b"", b"cdr1 odd\nbody"]
LANES = ["billing", "crm", "archive"]
NOWHERE = "http://127.0.0.1:9/"
SLOTS = 16
MANY = 10**6
HOUR = 3600.0

bodies = st.sampled_from(PAYLOADS)
lanes = st.sampled_from(LANES)
modes = st.sampled_from(["passing", "probe", "shut"])


class Lane:
    """What one process knows of one lane: what it has in flight, as the service would."""

    def __init__(self, queue: Queue, tokens: Tokens) -> None:
        self.queue = queue
        self.tokens = tokens
        self.channel = queue.channel()
        self.in_flight: list[Cdr] = []

    async def exchange(self, leaving: list[Settlement], wanted: Wanted) -> Exchanged:
        done = await self.queue.exchange(self.channel, leaving, wanted, HOUR)
        assert done.answered
        self.in_flight += [Cdr(body) for body in done.claimed]
        in_hand = {cdr.member for cdr in self.in_flight}
        for member in done.handed_out:
            if member not in in_hand:
                history, body = read_member(member)
                self.in_flight.append(Cdr(body, Origin.RETRY, history, member))
        return done

    @property
    def in_processing(self) -> Counter[bytes]:
        return Counter(cdr.body for cdr in self.in_flight if cdr.origin is not Origin.RETRY)


class Process:
    """One process: its slot, its lanes, and the short list that it distributes from."""

    def __init__(self, link: Link, configured: Settings) -> None:
        self.link = link
        self.configured = configured
        self.topology = Topology(configured.sources[0])
        self.lease = Lease(link, new_process_id(), configured.sources[0], configured.lease)

    async def start(self) -> "Process":
        self.slot = await self.lease.take()
        self._tokens = Tokens(self.lease.owner.id)
        self.short = self._lane(self.topology.short)
        self.lanes = {name: self._lane(keys) for name, keys in self.topology.lanes.items()}
        return self

    def _lane(self, keys: LaneKeys) -> Lane:
        return Lane(
            Queue(
                link=self.link,
                lease=self.lease,
                clock=RedisClock(),
                slot=keys.slot(self.slot.number),
                keys=keys,
                oldest="head",
                horizon=HOUR,
            ),
            self._tokens,
        )

    async def holds(self) -> bool:
        """Do what `Lease.keep` does: renew, or take the slot again, or lose it and forget everything."""
        try:
            if not await self.lease.renew(self.slot):
                await self.lease.retake(self.slot)
        except FencedError:
            return False
        return True


class Machine(RuleBasedStateMachine):
    """Processes of one integrator on a Redis of their own keys.

    `owed`: for each lane what it was given and has neither acked nor lost to an operator's drop.
    """

    server: ClassVar[EmbeddedRedis]
    names: ClassVar[list[str]]
    processes = Bundle("processes")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.integrator = f"m{uuid4().hex[:12]}"
        self.client = Redis.from_url(self.server.url, protocol=2)
        self.links: list[Link] = []
        self.pushed: Counter[bytes] = Counter()
        self.left_source: Counter[bytes] = Counter()
        self.owed: dict[str, Counter[bytes]] = {name: Counter() for name in self.names}
        self.delivered: dict[str, Counter[bytes]] = {name: Counter() for name in self.names}
        self.acked: dict[str, Counter[bytes]] = {name: Counter() for name in self.names}
        self.topology = Topology(self.configured(self.names).sources[0])
        self.numbers = count()

    def do(self, work: Any) -> Any:
        return self.runner.run(work)

    def configured(self, names: list[str]) -> Settings:
        urls = {f"endpoints__{name}__url": NOWHERE for name in names if name != "webhook"}
        single = "" if urls else NOWHERE
        return settings_from(environment(self.server.url, single, self.integrator, lease="600", **urls))

    def begin(self, names: list[str]) -> Process:
        configured = self.configured(names)
        link = Link(configured.sources[0], uuid4().hex)
        self.links.append(link)
        process: Process = self.do(Process(link, configured).start())
        return process

    @rule(body=bodies, copies=st.integers(1, 3))
    def push(self, body: bytes, copies: int) -> None:
        self.do(self.client.rpush(self.topology.short.pending, *[body] * copies))
        self.pushed[body] += copies

    # --- one lane of one process

    def lane(self, process: Process, name: str) -> Lane | None:
        """Return it while the process holds its lease."""
        lane = process.lanes.get(name)
        return lane if lane and self.do(process.holds()) else None

    def claim_in(self, process: Process, name: str, wanted: Wanted) -> None:
        if lane := self.lane(process, name):
            self.do(lane.exchange([], wanted))

    def lose_in(self, process: Process, name: str, wanted: Wanted) -> None:
        """Claim, and have the reply lost: nobody knows what was brought."""
        if lane := self.lane(process, name):
            self.do(lane.queue.exchange(lane.channel, [], wanted, HOUR))

    def settle_in(self, process: Process, name: str, way: str, number: int, delay: float, new: int) -> None:
        lane = self.lane(process, name)
        if not lane or not lane.in_flight:
            return
        cdr = lane.in_flight.pop(number % len(lane.in_flight))
        self.settle_all(lane, name, [cdr], way, delay, new)

    def settle_batch_in(self, process: Process, name: str, way: str, most: int, delay: float) -> None:
        """Settle CDRs that shared one POST: with equal attempts, and with one verdict."""
        lane = self.lane(process, name)
        if not lane or not lane.in_flight:
            return
        attempts = lane.in_flight[0].history.attempts
        batch = [cdr for cdr in lane.in_flight if cdr.history.attempts == attempts][:most]
        lane.in_flight = [cdr for cdr in lane.in_flight if cdr not in batch]
        self.settle_all(lane, name, batch, way, delay, 0)

    def settle_all(self, lane: Lane, name: str, cdrs: list[Cdr], way: str, delay: float, new: int) -> None:
        for cdr in cdrs:
            self.delivered[name][cdr.body] += way == "ack"
        leaving = [self.settlement_of(lane, cdr, way, delay) for cdr in cdrs]
        done = self.do(lane.exchange(leaving, Wanted(new, 0, MANY)))
        for cdr, found in zip(cdrs, done.results, strict=True):
            assert isinstance(found, bool | int)
            if way == "ack" and found:
                self.acked[name][cdr.body] += 1
                self.owed[name][cdr.body] -= 1

    def settlement_of(self, lane: Lane, cdr: Cdr, way: str, delay: float) -> Settlement:
        history = History(cdr.history.attempts + 1, replayed=cdr.history.replayed)
        letter = dead_letter(
            cdr=cdr, endpoint="x", source="cdr", reason="rejected", status=400, answer=b"", history=history
        )
        return {
            "ack": lambda: settlements.ack(cdr),
            "defer": lambda: settlements.defer(cdr, history, delay, lane.tokens),
            "dead letter": lambda: settlements.dead_letter(cdr, letter),
            "give back": lambda: settlements.give_back(cdr),
        }[way]()

    def sweep_in(self, process: Process, name: str) -> None:
        if lane := self.lane(process, name):
            read: Any = self.client.lrange(lane.queue.slot.processing, 0, -1)
            strays = Counter(self.do(read)) - lane.in_processing
            lane.in_flight += [Cdr(body, Origin.STRAY, NEVER_FAILED) for body in strays.elements()]

    def expire_in(self, name: str) -> None:
        """Time passes: what was handed out is visible to others again, and what was deferred is due."""
        keys = self.topology.lane(name)
        for key in (keys.retry, keys.retrying):
            members: Any = self.do(self.client.zrange(key, 0, -1))
            if members:
                self.do(self.client.zadd(key, dict.fromkeys(members, 1)))

    def replay_in(self, name: str, number: int) -> None:
        keys = self.topology.lane(name)
        letters: Any = self.do(self.client.lrange(keys.dead, 0, -1))
        if letters:
            link = Link(self.configured(self.names).sources[0], "operator")
            self.links.append(link)
            assert self.do(DeadStore(link, keys).replay(Letter.read(letters[number % len(letters)])))

    # --- a process

    @rule(process=processes)
    def lease_ends(self, process: Process) -> None:
        self.do(self.client.delete(process.slot.owner))

    @rule(process=consumes(processes))
    def crash(self, process: Process) -> None:
        self.do(self.client.delete(process.slot.owner))

    def adopt_in(self, process: Process, number: int, lane: Lane | None, most: int) -> None:
        """As `Adopter` does: from the list of a slot whose owner is gone, or has no such lane."""
        if lane is None or number == process.slot.number or not self.do(process.holds()):
            return
        orphan = lane.queue.keys.slot(number)
        owner = self.do(self.client.get(orphan.owner)) or b""
        if not Owner.read(owner).has_lane(orphan.endpoint):
            self.do(lane.queue.adopt(lane.channel, orphan, owner, most, MANY))

    # --- where everything is

    async def elements(self, *keys: str) -> Counter[bytes]:
        async with self.client.pipeline(transaction=False) as together:
            for key in keys:
                together.lrange(key, 0, -1)
            lists = await together.execute()
        return Counter(body for one in lists for body in one)

    async def deferred(self, key: str) -> list[bytes]:
        members: list[Any] = await self.client.zrange(key, 0, -1)
        return [read_member(member)[1] for member in members]

    async def in_lane(self, name: str) -> Counter[bytes]:
        keys = self.topology.lane(name)
        lists = await self.elements(keys.pending, *_processing(keys))
        for key in (keys.retry, keys.retrying):
            lists.update(await self.deferred(key))
        letters: list[Any] = await self.client.lrange(keys.dead, 0, -1)
        lists.update(Letter.read(letter).cdr for letter in letters)
        return lists

    async def no_member_is_in_both_sets(self, name: str) -> bool:
        keys = self.topology.lane(name)
        retry, retrying = [set(await self.client.zrange(key, 0, -1)) for key in (keys.retry, keys.retrying)]
        return not retry & retrying

    def check_lanes(self) -> None:
        """Each lane has exactly what it was given and has not acked; no ack goes without its own delivery."""
        for name in self.names:
            assert +self.owed[name] == self.do(self.in_lane(name)), name
            assert not self.acked[name] - self.delivered[name]
            assert self.do(self.no_member_is_in_both_sets(name))

    def teardown(self) -> None:
        for link in self.links:
            self.do(link.aclose())
        self.do(self.client.aclose())
        self.runner.close()


def _processing(keys: LaneKeys) -> list[str]:
    return [slot.processing for slot in keys.slots()[:SLOTS]]


ways = st.sampled_from(["ack", "defer", "dead letter", "give back"])
delays = st.sampled_from([-1.0, HOUR])


class Forwarders(Machine):
    """Several processes on the queue of one lane; pending is the source."""

    names: ClassVar = ["webhook"]

    @rule(body=bodies, copies=st.integers(1, 3))
    def push(self, body: bytes, copies: int) -> None:
        super().push(body, copies)
        self.owed["webhook"][body] += copies

    @rule(target=Machine.processes)
    def start(self) -> Process:
        return self.begin(self.names)

    @rule(process=Machine.processes, new=st.integers(0, 4), deferred=st.integers(0, 3))
    def claim(self, process: Process, new: int, deferred: int) -> None:
        self.claim_in(process, "webhook", Wanted(new, deferred, MANY))

    @rule(process=Machine.processes, sha=st.just("0" * 40))
    def probe(self, process: Process, sha: str) -> None:
        self.claim_in(process, "webhook", Wanted(0, 1, MANY, early=sha))

    @rule(process=Machine.processes, new=st.integers(0, 2), deferred=st.integers(0, 2))
    def claim_and_lose_the_reply(self, process: Process, new: int, deferred: int) -> None:
        self.lose_in(process, "webhook", Wanted(new, deferred, MANY))

    @rule(process=Machine.processes, way=ways, number=st.integers(0, 9), delay=delays, new=st.integers(0, 2))
    def settle(self, process: Process, way: str, number: int, delay: float, new: int) -> None:
        self.settle_in(process, "webhook", way, number, delay, new)

    @rule(process=Machine.processes, way=st.sampled_from(["ack", "defer"]), most=st.integers(2, 4), delay=delays)
    def settle_batch(self, process: Process, way: str, most: int, delay: float) -> None:
        self.settle_batch_in(process, "webhook", way, most, delay)

    @rule(process=Machine.processes)
    def sweep(self, process: Process) -> None:
        self.sweep_in(process, "webhook")

    @rule()
    def expire(self) -> None:
        self.expire_in("webhook")

    @rule(number=st.integers(0, 9))
    def replay(self, number: int) -> None:
        self.replay_in("webhook", number)

    @rule(process=Machine.processes, number=st.integers(1, 4), most=st.integers(1, 3))
    def adopt(self, process: Process, number: int, most: int) -> None:
        self.adopt_in(process, number, process.lanes["webhook"], most)

    @invariant()
    def nothing_is_lost(self) -> None:
        self.check_lanes()


class Distributors(Machine):
    """Several processes that distribute to lanes, not all with the same endpoints: a rolling change."""

    names: ClassVar = LANES

    @rule(target=Machine.processes, names=st.sets(lanes, min_size=1).map(sorted))
    def start(self, names: list[str]) -> Process:
        return self.begin(names)

    @rule(
        process=Machine.processes,
        most=st.integers(1, 4),
        most_pending=st.integers(1, 6),
        chosen=st.lists(modes, min_size=3, max_size=3),
    )
    def distribute(self, process: Process, most: int, most_pending: int, chosen: list[str]) -> None:
        if not self.do(process.holds()):
            return
        before = self.do(self.undistributed())
        named = list(zip(process.topology.lanes.values(), chosen, strict=False))
        short = process.short
        done = self.do(short.queue.distribute(short.channel, named, most, MANY, most_pending))
        gone = before - self.do(self.undistributed())
        assert done.given == gone.total()
        self.left_source += gone
        for name in process.lanes:
            self.owed[name] += gone

    @rule(process=Machine.processes)
    def claim_from_the_source_and_lose_the_reply(self, process: Process) -> None:
        if self.do(process.holds()):
            self.do(self.client.lmove(self.topology.short.pending, process.slot.processing, "LEFT", "RIGHT"))

    @rule(body=bodies, due=st.booleans())
    def defer_under_a_former_configuration(self, body: bytes, due: bool) -> None:  # noqa: FBT001 - drawn
        """One endpoint was configured: what it had deferred is distributed, and what it had in hand."""
        key = self.topology.short.retry if due else self.topology.short.retrying
        member = f"cdr1 former-{next(self.numbers)} 1 0 1 0 1 - 0 0\n".encode() + body
        self.do(self.client.zadd(key, {member: 1}))
        self.pushed[body] += 1

    @rule(process=Machine.processes, name=lanes, new=st.integers(0, 4), deferred=st.integers(0, 3))
    def claim(self, process: Process, name: str, new: int, deferred: int) -> None:
        self.claim_in(process, name, Wanted(new, deferred, MANY))

    @rule(process=Machine.processes, name=lanes, new=st.integers(0, 2), deferred=st.integers(0, 2))
    def claim_and_lose_the_reply(self, process: Process, name: str, new: int, deferred: int) -> None:
        self.lose_in(process, name, Wanted(new, deferred, MANY))

    @rule(process=Machine.processes, name=lanes, way=ways, number=st.integers(0, 9), delay=delays)
    def settle(self, process: Process, name: str, way: str, number: int, delay: float) -> None:
        self.settle_in(process, name, way, number, delay, 0)

    @rule(process=Machine.processes, name=lanes)
    def sweep(self, process: Process, name: str) -> None:
        self.sweep_in(process, name)

    @rule(name=lanes)
    def expire(self, name: str) -> None:
        self.expire_in(name)

    @rule(name=lanes, number=st.integers(0, 9))
    def replay(self, name: str, number: int) -> None:
        self.replay_in(name, number)

    @rule(process=Machine.processes, number=st.integers(1, 4), name=st.none() | lanes)
    def adopt(self, process: Process, number: int, name: str | None) -> None:
        self.adopt_in(process, number, process.short if name is None else process.lanes.get(name), 2)

    @rule(old=lanes, new=lanes)
    def reroute(self, old: str, new: str) -> None:
        """An operator moves what waits for an endpoint that is no longer configured; a live one is refused."""
        if old == new:
            return
        configured = self.configured([name for name in LANES if name != old])
        link = Link(configured.sources[0], "operator")
        self.links.append(link)
        owners: list[Any] = [self.do(self.client.get(slot.owner)) for slot in self.topology.short.slots()[:SLOTS]]
        is_live = any(old in Owner.read(owner).names for owner in owners if owner)
        try:
            self.do(Reroute(link, old, new).run())
            assert not is_live
        except CommandError:
            assert is_live
        else:
            self.owed[new] += +self.owed[old]
            self.owed[old] = Counter()

    @invariant()
    def nothing_is_lost(self) -> None:
        """What was not distributed is in one key; what was is with every lane of the process that did it."""
        assert self.pushed - self.left_source == self.do(self.undistributed())
        self.check_lanes()

    async def undistributed(self) -> Counter[bytes]:
        short = self.topology.short
        found = await self.elements(short.pending, *_processing(short))
        for key in (short.retry, short.retrying):
            found.update(await self.deferred(key))
        return found


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("machine", [Forwarders, Distributors])
def test_nothing_is_lost_in_any_order_of_events(machine: type[Machine], redis_server: EmbeddedRedis) -> None:
    """Hypothesis looks for an order in which a CDR is lost to a lane, or acked without its own 2xx."""
    unhurried = settings(
        max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    machine.server = redis_server
    run_state_machine_as_test(machine, settings=unhurried)
