"""A pass over a processing list that changes between its pages."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import pytest
from app.lane.parking import FailingRecord, now
from app.lane.sweep import Sweep
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.cdr import webhook_id
from app.demo.embedded import EmbeddedRedis
from tests.harness import eventually, gone, running, settings_from
from tests.proxy import RedisProxy
from tests.receiver import Receiver

HOUR = timedelta(hours=1)
PATIENT = {"CDR_WEBHOOK_BACKOFF": "30", "CDR_WEBHOOK_BACKOFF_MAX": "30", "CDR_WEBHOOK_ATTEMPTS": "1000"}

Change = tuple[Literal["page", "remove", "push"], int]

BODIES = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
CHANGES = st.lists(st.tuples(st.sampled_from(["page", "remove", "push"]), st.integers(0, 9)), max_size=60)


@dataclass(eq=False)
class Element:
    body: bytes
    met: int = 0


@dataclass
class List:
    """A processing list as Redis has it, and how often a pass over it has come by each element.

    What is removed is searched for as an ack does it: from the head where a copy was passed, else from the tail.
    """

    elements: list[Element]
    sweep: Sweep = field(default_factory=lambda: Sweep(60))
    miscounted: int = 0

    def apply(self, change: Change) -> None:
        match change:
            case ("page", size):
                self.page(1 + size)
            case ("push", number):
                self.elements.append(Element(b"abcde"[number % 5 :][:1]))
            case (_, number):
                self.remove(number)

    def page(self, size: int) -> bool:
        page = self.elements[self.sweep.cursor :][:size]
        for element in page:
            counted = self.sweep.step(element.body)
            passed = [other.body for other in self.elements[: self.sweep.cursor]]
            self.miscounted += counted != passed.count(element.body)
            element.met += 1
        return bool(page)

    def remove(self, number: int) -> None:
        if not self.elements:
            return
        body = self.elements[number % len(self.elements)].body
        copies = [element for element in self.elements if element.body == body]
        self.elements.remove(copies[0 if self.sweep.has_passed(body) else -1])
        self.sweep.removed(body)


@given(st.lists(BODIES, max_size=30), CHANGES)
def test_a_pass_meets_each_element_once_whatever_comes_and_goes(bodies: list[bytes], changes: list[Change]) -> None:
    """Acks remove behind and before the cursor, claims append: none is skipped, and none is met twice."""
    processing = List([Element(body) for body in bodies])
    for change in changes:
        processing.apply(change)
    while processing.page(3):
        pass
    assert [element.met for element in processing.elements] == [1] * len(processing.elements)


@given(st.lists(BODIES, max_size=30), CHANGES)
def test_a_pass_knows_how_many_copies_it_has_met(bodies: list[bytes], changes: list[Change]) -> None:
    """This is what tells a lost twin from one that is in flight."""
    processing = List([Element(body) for body in bodies])
    for change in changes:
        processing.apply(change)
    assert processing.miscounted == 0


@pytest.mark.parametrize("found", [0, 3])
def test_a_pass_that_finds_something_is_followed_by_another(found: int) -> None:
    """Passes end when one finds nothing; then the interval counts."""
    sweep = Sweep(interval=60)
    assert sweep.due
    sweep.step(b"cdr")
    sweep.found = found
    assert sweep.end() == found
    assert sweep.due == bool(found)
    assert (sweep.cursor, sweep.found, sweep.has_passed(b"cdr")) == (0, 0, False)


def test_a_list_that_was_changed_by_others_is_begun_anew() -> None:
    """The cursor means nothing any more."""
    sweep = Sweep(interval=60)
    sweep.end()
    sweep.step(b"cdr")
    sweep.again()
    assert (sweep.due, sweep.cursor, sweep.has_passed(b"cdr")) == (True, 0, False)


def test_a_sweep_may_be_brought_forward_and_never_put_off() -> None:
    """`soon` is a wish of one of many."""
    sweep = Sweep(interval=60)
    sweep.end()
    interval_ends = sweep.due_at
    sweep.soon(3600)
    assert sweep.due_at == interval_ends
    sweep.soon()
    assert sweep.due


@pytest.fixture
async def proxy(redis_server: EmbeddedRedis) -> AsyncIterator[RedisProxy]:
    async with RedisProxy(redis_server) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep begins when the waiting claim has ended."""
    monkeypatch.setattr("app.store.queue.WAIT", 0.05)


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


def attempts(receiver: Receiver, body: bytes) -> list[int]:
    return [arrival.attempt for arrival in receiver.arrivals if arrival.body == body]


async def park(client: Redis, integrator: str, body: bytes, wait: timedelta) -> None:
    """Leave a CDR as one that was EXHAUSTED after five attempts."""
    record = FailingRecord(now() - HOUR, 5, now() + wait)
    await client.rpush(f"{integrator}:processing:cdr", body)
    await client.hset(f"{integrator}:failing:cdr", mapping={webhook_id(body): record.to_json()})


async def test_lost_cdrs_are_found_over_several_pages(
    client: Redis, receiver: Receiver, variables: dict[str, str], processing: str
) -> None:
    """More of them than there are slots, twins among them: each is delivered, and none twice."""
    lost = [f"cdr {number}".encode() for number in range(300)] + [b"twin"] * 50
    await client.rpush(processing, *lost)
    async with running(settings_from(variables | {"CDR_WEBHOOK_CONCURRENCY": "8"})):
        await eventually(lambda: gone(client, processing))
    assert receiver.bodies == Counter(lost)


async def test_a_sweep_does_not_take_what_is_in_flight_for_lost(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, proxy: RedisProxy
) -> None:
    """An endpoint that keeps us waiting for several sweeps gets each CDR once, and each twin once."""
    pushed = [b"a", b"b", b"twin", b"twin"]
    receiver.gate.clear()
    await client.rpush(source, *pushed)
    quick = {"CDR_REDIS_URL": proxy.url, "CDR_SWEEP_INTERVAL": "0.1"}
    async with running(settings_from(variables | quick)):
        await eventually(lambda: receiver.at_the_gate == 4)
        pages = proxy.seen["page"]
        await eventually(lambda: proxy.seen["page"] >= pages + 6)
        assert receiver.at_the_gate == 4
        receiver.gate.set()
        await eventually(lambda: gone(client, processing))
    assert receiver.bodies == Counter(pushed)


async def test_a_parked_cdr_is_not_tried_before_its_time(
    client: Redis, receiver: Receiver, variables: dict[str, str], integrator: str, processing: str
) -> None:
    """Sweeps pass it over until `next_try`; its attempts go on being counted."""
    later = timedelta(seconds=1)
    parked_at = time.monotonic()
    await park(client, integrator, b"due", -later)
    await park(client, integrator, b"later", later)
    await park(client, integrator, b"much later", HOUR)
    async with running(settings_from(variables | {"CDR_SWEEP_INTERVAL": "0.1"})):
        await eventually(lambda: receiver.bodies.total() == 2)
        await eventually(lambda: is_alone(client, processing, b"much later"))
    assert [(arrival.body, arrival.attempt) for arrival in receiver.arrivals] == [(b"due", 6), (b"later", 6)]
    assert receiver.arrivals[1].at - parked_at >= later.total_seconds() - 0.1


async def is_alone(client: Redis, key: str, body: bytes) -> bool:
    return bool(await client.lrange(key, 0, -1) == [body])


async def test_parked_cdrs_leave_room_for_new_ones(
    client: Redis, receiver: Receiver, variables: dict[str, str], integrator: str, source: str, processing: str
) -> None:
    """While pending is not empty they take at most a quarter of the slots."""
    receiver.gate.clear()
    for number in range(20):
        await park(client, integrator, f"parked {number}".encode(), -HOUR)
    await client.rpush(source, *(f"new {number}" for number in range(100)))
    async with running(settings_from(variables | {"CDR_WEBHOOK_CONCURRENCY": "8"})):
        await eventually(lambda: receiver.at_the_gate == 8)
        receiver.gate.set()
        await eventually(lambda: gone(client, source, processing))
    first = [arrival.attempt for arrival in receiver.arrivals[:8]]
    assert Counter(first) == {6: 2, 1: 6}
    assert receiver.bodies.total() == 120


async def test_parked_cdrs_may_take_every_slot_while_nothing_is_pending(
    client: Redis, receiver: Receiver, variables: dict[str, str], integrator: str
) -> None:
    """An endpoint that is back gets what waited for it at full speed."""
    receiver.gate.clear()
    for number in range(20):
        await park(client, integrator, f"parked {number}".encode(), -HOUR)
    async with running(settings_from(variables | {"CDR_WEBHOOK_CONCURRENCY": "8"})):
        await eventually(lambda: receiver.at_the_gate == 8)
        receiver.gate.set()


async def test_a_dead_letter_between_two_pages_does_not_confuse_the_sweep(
    client: Redis,
    receiver: Receiver,
    variables: dict[str, str],
    source: str,
    proxy: RedisProxy,
    said: list[EventDict],
) -> None:
    """One twin is rejected while the pass is between the two: nothing in flight is delivered a second time."""
    answers = iter([400])
    receiver.judge = lambda body: next(answers, 503) if body == b"twin" else 503
    receiver.gate.clear()
    await client.rpush(source, "twin", "a", "b", "c", "twin")
    patient = PATIENT | {"CDR_REDIS_URL": proxy.url, "CDR_WEBHOOK_CONCURRENCY": "8", "CDR_SWEEP_INTERVAL": "0.2"}
    async with running(settings_from(variables | patient)) as service:
        # given: all in flight, and a pass that has read its first page, of three
        await eventually(lambda: receiver.at_the_gate == 5)
        await eventually(lambda: not service._lanes[0].intake.sweep.due)
        proxy.hold("page")
        await eventually(lambda: proxy.held["page"])
        # when: one twin is rejected, and the pass goes on
        receiver.gate.set()
        await eventually(lambda: len(occurrences(said, "attempt.failed")) >= 5)
        proxy.let_go("page")
        await eventually(lambda: occurrences(said, "cdr.dead_lettered"))
        pages = proxy.seen["page"]
        await eventually(lambda: proxy.seen["page"] >= pages + 4)
    # then: each was begun once
    assert [attempts(receiver, body).count(1) for body in (b"twin", b"a", b"b", b"c")] == [2, 1, 1, 1]


def occurrences(said: list[EventDict], event: str) -> list[EventDict]:
    return [one for one in said if one["event"] == event]
