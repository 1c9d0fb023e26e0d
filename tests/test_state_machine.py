"""Pushes, claims, deliveries, failures, crashes, sweeps and adoptions in any order, against a model."""

import asyncio
import json
from collections import Counter
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from app.cdr import Cdr
from app.dead_letters import dead_letter
from app.embedded import EmbeddedRedis
from app.errors import FencedError
from app.keys import LaneKeys, Slot, all_slots
from app.link import Link
from app.ownership import Ownership
from app.parking import Parking
from app.queue import HEAD, TAIL, Ack, Queue, Side
from tests.harness import environment, settings_from

PAYLOADS = [b"twin", b"one", b"\xff\x00", b""]
SLOTS = 4
MANY = 1000

bodies = st.sampled_from(PAYLOADS)
sides = st.sampled_from([HEAD, TAIL])


class Member:
    """One process: its slot, and what it knows to be in flight."""

    def __init__(self, link: Link, ownership: Ownership, slot: Slot, keys: LaneKeys) -> None:
        self.link = link
        self.ownership = ownership
        self.slot = slot
        self.queue = Queue(link, ownership, slot, keys, "head")
        self.in_flight: list[bytes] = []


class Forwarders(RuleBasedStateMachine):
    """Several processes on the queue of one lane, each with what it knows to be in flight."""

    server: ClassVar[EmbeddedRedis]
    members = Bundle("members")

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.integrator = f"m{uuid4().hex[:12]}"
        self.configured = settings_from(
            environment(self.server.url, "http://127.0.0.1:9/", self.integrator, lease="600")
        )
        self.keys = LaneKeys(self.integrator, self.configured.source_key)
        self.client = Redis.from_url(self.server.url, protocol=2)
        self.links: list[Link] = []
        self.pushed: Counter[bytes] = Counter()
        self.delivered: Counter[bytes] = Counter()
        self.acked: Counter[bytes] = Counter()

    def do(self, work: Any) -> Any:
        return self.runner.run(work)

    def held(self, member: Member) -> bool:
        """Do what `Ownership.keep` does: renew, or take the slot again, or lose it and forget everything."""
        return bool(self.do(self.renewed(member)))

    async def renewed(self, member: Member) -> bool:
        try:
            if not await member.ownership._renewed(member.slot):
                await member.ownership._retake(member.slot)
        except FencedError:
            return False
        return True

    @rule(body=bodies, copies=st.integers(1, 3))
    def push(self, body: bytes, copies: int) -> None:
        self.do(self.client.rpush(self.keys.pending, *[body] * copies))
        self.pushed[body] += copies

    @rule(target=members)
    def start(self) -> Member:
        link = Link(self.configured, uuid4().hex)
        self.links.append(link)
        ownership = Ownership(link, uuid4().hex, self.configured)
        return Member(link, ownership, self.do(ownership.take()), self.keys)

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
        stored: list[Any] = [body for key in lists for body in await self.client.lrange(key, 0, -1)]
        return Counter(stored + [_cdr(letter) for letter in await self.client.lrange(self.keys.dead, 0, -1)])

    def teardown(self) -> None:
        for link in self.links:
            self.do(link.aclose())
        self.do(self.client.aclose())
        self.runner.close()


def _cdr(letter: Any) -> bytes:
    stored: dict[str, str] = json.loads(letter)
    return stored["cdr"].encode() if "cdr" in stored else b"\xff\x00"


@pytest.mark.timeout(180)
def test_nothing_is_lost_in_any_order_of_events(redis_server: EmbeddedRedis) -> None:
    """Hypothesis looks for an order in which a CDR is lost, or acked without its own 2xx."""
    unhurried = settings(
        max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    Forwarders.server = redis_server
    run_state_machine_as_test(Forwarders, settings=unhurried)
