"""Pushes, claims, deliveries, failures, crashes, sweeps and adoptions in any order, against a model."""

import asyncio
import json
from collections import Counter
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from app.lane.parking import Parking
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from app.cdr import Cdr
from app.config.settings import Settings
from app.dead_letters.letter import dead_letter
from app.demo.embedded import EmbeddedRedis
from app.errors import FencedError
from app.store.client import Link
from app.store.keys import LaneKeys, Slot, all_slots, pending_of
from app.store.lease import Ownership, has_lane
from app.store.queue import HEAD, TAIL, Ack, Queue, Side
from tests.harness import environment, settings_from

PAYLOADS = [b"twin", b"one", b"\xff\x00", b""]
LANES = ["billing", "crm", "archive"]
NOWHERE = "http://127.0.0.1:9/"
SLOTS = 4
MANY = 1000

bodies = st.sampled_from(PAYLOADS)
lanes = st.sampled_from(LANES)
sides = st.sampled_from([HEAD, TAIL])


class Machine(RuleBasedStateMachine):
    """Processes of one integrator on a Redis of their own keys; one step at a time, and each ends."""

    server: ClassVar[EmbeddedRedis]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.integrator = f"m{uuid4().hex[:12]}"
        self.client = Redis.from_url(self.server.url, protocol=2)
        self.links: list[Link] = []
        self.pushed: Counter[bytes] = Counter()

    def do(self, work: Any) -> Any:
        return self.runner.run(work)

    def configured(self, *endpoints: str) -> Settings:
        """Return the settings of a process with these endpoints; none is the one-lane case."""
        urls = {f"endpoints__{name}__url": NOWHERE for name in endpoints}
        single = "" if endpoints else NOWHERE
        return settings_from(environment(self.server.url, single, self.integrator, lease="600", **urls))

    def owned(self, configured: Settings) -> tuple[Link, Ownership, Slot]:
        """Start a process: it takes a slot."""
        link = Link(configured, uuid4().hex)
        self.links.append(link)
        ownership = Ownership(link, uuid4().hex, configured)
        return link, ownership, self.do(ownership.take())

    def held(self, member: "Member | Process") -> bool:
        """Do what `Ownership.keep` does: renew, or take the slot again, or lose it and forget everything."""
        return bool(self.do(renewed(member.ownership, member.slot)))

    async def elements(self, *keys: str) -> Counter[bytes]:
        stored: list[Any] = [body for key in keys for body in await self.client.lrange(key, 0, -1)]
        return Counter(stored)

    def teardown(self) -> None:
        for link in self.links:
            self.do(link.aclose())
        self.do(self.client.aclose())
        self.runner.close()


async def renewed(ownership: Ownership, slot: Slot) -> bool:
    try:
        if not await ownership._renewed(slot):
            await ownership._retake(slot)
    except FencedError:
        return False
    return True


class Member:
    """One process: its slot, and what it knows to be in flight."""

    def __init__(self, link: Link, ownership: Ownership, slot: Slot, keys: LaneKeys) -> None:
        self.ownership = ownership
        self.slot = slot
        self.queue = Queue(link, ownership, slot, keys, "head")
        self.in_flight: list[bytes] = []


class Forwarders(Machine):
    """Several processes on the queue of one lane, each with what it knows to be in flight."""

    members = Bundle("members")

    def __init__(self) -> None:
        super().__init__()
        self.keys = self.configured().base_keys
        self.delivered: Counter[bytes] = Counter()
        self.acked: Counter[bytes] = Counter()

    @rule(body=bodies, copies=st.integers(1, 3))
    def push(self, body: bytes, copies: int) -> None:
        self.do(self.client.rpush(self.keys.pending, *[body] * copies))
        self.pushed[body] += copies

    @rule(target=members)
    def start(self) -> Member:
        return Member(*self.owned(self.configured()), self.keys)

    @rule(member=members, claims=st.integers(1, 4))
    def claim(self, member: Member, claims: int) -> None:
        if self.held(member):
            member.in_flight += self.do(member.queue.exchange([], claims, MANY)).claimed

    @rule(member=members)
    def claim_and_lose_the_reply(self, member: Member) -> None:
        if self.held(member):
            self.do(member.queue.exchange([], 1, MANY))

    @rule(member=members, side=sides, claims=st.integers(0, 2))
    def deliver_and_ack(self, member: Member, side: Side, claims: int) -> None:
        if not self.held(member) or not member.in_flight:
            return
        body = member.in_flight.pop(0)
        self.delivered[body] += 1
        done = self.do(member.queue.exchange([Ack(body, side, "")], claims, MANY))
        self.acked[body] += done.acked
        member.in_flight += done.claimed

    @rule(member=members, side=sides)
    def reject(self, member: Member, side: Side) -> None:
        if self.held(member) and member.in_flight:
            cdr = Cdr(member.in_flight.pop(0))
            letter = dead_letter(cdr, "webhook", "rejected", 400)
            self.do(member.queue.bury(cdr.body, side, cdr.webhook_id, letter))

    @rule(member=members, side=sides)
    def park(self, member: Member, side: Side) -> None:
        if self.held(member) and member.in_flight:
            cdr = Cdr(member.in_flight.pop(0))
            failing = Parking(60, 0, 5).park(None, 1, None)
            self.do(member.queue.park(cdr.body, side, cdr.webhook_id, failing))

    @rule(member=members)
    def sweep(self, member: Member) -> None:
        if self.held(member):
            page = Counter(self.do(member.queue.page(0, MANY, MANY)))
            member.in_flight += (page - Counter(member.in_flight)).elements()

    @rule(member=members, number=st.integers(1, SLOTS), most=st.integers(1, 3))
    def adopt(self, member: Member, number: int, most: int) -> None:
        if self.held(member) and number != member.slot.number:
            self.do(member.queue.adopt(Slot(self.integrator, number), b"", most))

    @rule(member=members)
    def lease_ends(self, member: Member) -> None:
        self.do(self.client.delete(member.slot.owner))

    @rule(member=consumes(members))
    def crash(self, member: Member) -> None:
        self.do(self.client.delete(member.slot.owner))

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every CDR is in exactly one list, or was acked; and no ack goes without a completed delivery."""
        assert self.pushed - self.acked == self.do(self.where())
        assert not self.acked - self.delivered

    async def where(self) -> Counter[bytes]:
        lists = [self.keys.pending, *(slot.processing for slot in all_slots(self.integrator)[: SLOTS * 4])]
        letters = await self.client.lrange(self.keys.dead, 0, -1)
        return await self.elements(*lists) + Counter(_cdr(letter) for letter in letters)


def _cdr(letter: Any) -> bytes:
    stored: dict[str, str] = json.loads(letter)
    return stored["cdr"].encode() if "cdr" in stored else b"\xff\x00"


class Process:
    """One process that distributes, and what it knows to be in flight on each of its lanes."""

    def __init__(self, link: Link, ownership: Ownership, slot: Slot, configured: Settings) -> None:
        self.ownership = ownership
        self.slot = slot
        self.source = Queue(link, ownership, slot, configured.base_keys, "head")
        self.lanes = {
            one.name: Queue(
                link, ownership, configured.slots(one.name)[slot.number - 1], configured.lane_keys(one.name), "head"
            )
            for one in configured.endpoints
        }
        self.pendings = [configured.lane_keys(name).pending for name in self.lanes]
        self.in_flight: dict[str, list[bytes]] = {name: [] for name in self.lanes}


class Distributors(Machine):
    """Several processes that distribute to lanes, not all with the same endpoints: a rolling change."""

    processes = Bundle("processes")

    def __init__(self) -> None:
        super().__init__()
        self.source = self.configured(*LANES).base_keys
        self.given: dict[str, Counter[bytes]] = {name: Counter() for name in LANES}
        self.acked: dict[str, Counter[bytes]] = {name: Counter() for name in LANES}
        self.left_source: Counter[bytes] = Counter()

    @rule(body=bodies, copies=st.integers(1, 3))
    def push(self, body: bytes, copies: int) -> None:
        self.do(self.client.rpush(self.source.pending, *[body] * copies))
        self.pushed[body] += copies

    @rule(target=processes, endpoints=st.sets(st.sampled_from(LANES), min_size=1).map(sorted))
    def start(self, endpoints: list[str]) -> Process:
        configured = self.configured(*endpoints)
        return Process(*self.owned(configured), configured)

    @rule(process=processes, most=st.integers(1, 4), most_pending=st.integers(1, 6), taking=st.sets(lanes))
    def distribute(self, process: Process, most: int, most_pending: int, taking: set[str]) -> None:
        if not self.held(process):
            return
        before = self.do(self.undistributed())
        takes = [name in taking for name in process.lanes]
        done = self.do(process.source.distribute(process.pendings, takes, most, MANY, most_pending))
        gone = before - self.do(self.undistributed())
        assert done.given == gone.total()
        self.left_source += gone
        for name in process.lanes:
            self.given[name] += gone

    @rule(process=processes)
    def claim_from_the_source_and_lose_the_reply(self, process: Process) -> None:
        if self.held(process):
            move = self.client.lmove(self.source.pending, process.slot.processing, "LEFT", "RIGHT")
            self.do(move)

    @rule(process=processes, name=lanes, claims=st.integers(1, 4))
    def claim(self, process: Process, name: str, claims: int) -> None:
        if name in process.lanes and self.held(process):
            process.in_flight[name] += self.do(process.lanes[name].exchange([], claims, MANY)).claimed

    @rule(process=processes, name=lanes, side=sides)
    def deliver_and_ack(self, process: Process, name: str, side: Side) -> None:
        if process.in_flight.get(name) and self.held(process):
            body = process.in_flight[name].pop(0)
            done = self.do(process.lanes[name].exchange([Ack(body, side, "")], 0, MANY))
            self.acked[name][body] += done.acked

    @rule(process=processes, number=st.integers(1, SLOTS), name=st.none() | lanes)
    def adopt(self, process: Process, number: int, name: str | None) -> None:
        """As `Adoption` does: from the list of a slot whose owner is gone, or has no such lane."""
        queue = process.source if name is None else process.lanes.get(name)
        if queue is None or number == process.slot.number or not self.held(process):
            return
        orphan = Slot(self.integrator, number, name)
        owner = self.do(self.client.get(orphan.owner)) or b""
        if not has_lane(owner, name):
            self.do(queue.adopt(orphan, owner, 2))

    @rule(process=processes)
    def lease_ends(self, process: Process) -> None:
        self.do(self.client.delete(process.slot.owner))

    @rule(process=consumes(processes))
    def crash(self, process: Process) -> None:
        self.do(self.client.delete(process.slot.owner))

    @invariant()
    def nothing_is_lost(self) -> None:
        """What was not distributed is in one list; what was is with every lane of the process that did it."""
        assert self.pushed - self.left_source == self.do(self.undistributed())
        for name in LANES:
            assert self.given[name] - self.acked[name] == self.do(self.in_lane(name))

    async def undistributed(self) -> Counter[bytes]:
        slots = all_slots(self.integrator)[: SLOTS * 4]
        return await self.elements(self.source.pending, *(slot.processing for slot in slots))

    async def in_lane(self, name: str) -> Counter[bytes]:
        slots = all_slots(self.integrator, name)[: SLOTS * 4]
        return await self.elements(pending_of(self.integrator, name), *(slot.processing for slot in slots))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("machine", [Forwarders, Distributors])
def test_nothing_is_lost_in_any_order_of_events(machine: type[Machine], redis_server: EmbeddedRedis) -> None:
    """Hypothesis looks for an order in which a CDR is lost to a lane, or acked without its own 2xx."""
    unhurried = settings(
        max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    machine.server = redis_server
    run_state_machine_as_test(machine, settings=unhurried)
