"""Lanes of several sources share one endpoint: how many attempts at once, who is next, and who probes."""

import asyncio
from dataclasses import dataclass, field

from app.cdr import Cdr, History
from app.config.timings import Timings
from app.delivery.breaker import Breaker, State
from app.delivery.gate import Gate
from app.delivery.probing import Probing
from app.delivery.turn import Turn
from app.delivery.verdict import Kind, Verdict
from tests.support.harness import eventually

HOUR_MS = 3_600_000


@dataclass(eq=False)
class Prober:
    """A prober that is only told things."""

    held: bool = True
    woken: int = 0

    def holds(self) -> bool:
        return self.held

    def wake(self) -> None:
        self.woken += 1


class Lane:
    """Workers that take from a backlog whenever their turn admits them, as those of a lane do."""

    def __init__(self, gate: Gate, backlog: int, now: int = 0) -> None:
        self.backlog = backlog
        self.began = 0
        self._woken: list[asyncio.Future[None]] = []
        self.turn = Turn(gate, lambda: now, lambda: self.backlog > 0, self._wake)
        self.prober = Prober()
        gate.join(self.turn, self.prober)

    def put(self, number: int) -> None:
        self.backlog += number
        self._wake()

    async def work(self, site: "Site") -> None:
        while True:
            if not self.backlog:
                self.turn.pass_on()
            elif self.turn.admits():
                self.backlog -= 1
                self.began += 1
                site.order.append(self)
                try:
                    await site.attempt()
                finally:
                    self.turn.release()
                continue
            waiter = asyncio.get_running_loop().create_future()
            self._woken.append(waiter)
            await waiter

    def _wake(self) -> None:
        if self._woken:
            self._woken.pop(0).set_result(None)


@dataclass
class Site:
    """An endpoint that counts how many attempts there are at once."""

    at_once: int = 0
    most: int = 0
    order: list[Lane] = field(default_factory=list)

    async def attempt(self) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0)
        finally:
            self.at_once -= 1


def gate_for(concurrency: int, rate: float = 0) -> Gate:
    return Gate(Breaker(1, Timings()), rate, concurrency, Timings())


async def work(lanes: list[Lane], concurrency: int, site: Site, until: list[int]) -> None:
    """Run as many workers in each lane as the endpoint has permits, until each lane has begun so many."""
    tasks = [asyncio.create_task(lane.work(site)) for lane in lanes for _ in range(concurrency)]
    await eventually(lambda: all(lane.began >= number for lane, number in zip(lanes, until, strict=True)))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_all_lanes_together_keep_to_the_concurrency() -> None:
    """And nothing is left lying while a permit is free."""
    gate, site = gate_for(4), Site()
    lanes = [Lane(gate, 500), Lane(gate, 300), Lane(gate, 1)]
    await work(lanes, 4, site, [500, 300, 1])
    assert site.most == 4
    assert gate.free == 4


async def test_a_backlog_does_not_starve_another_lane() -> None:
    """The one with fewer attempts comes first: of the first hundred, both have half."""
    gate, site = gate_for(1), Site()
    lanes = [Lane(gate, 10_000), Lane(gate, 50)]
    await work(lanes, 1, site, [1, 50])
    assert site.order[:100].count(lanes[1]) in {49, 50}


async def test_the_rate_is_shared_in_turn() -> None:
    """All workers of all lanes are woken when the next attempt may be made."""
    gate, site = gate_for(8, rate=500), Site()
    lanes = [Lane(gate, 10_000), Lane(gate, 10_000)]
    for lane in lanes:
        gate.listen(lane._wake)  # noqa: SLF001 - the lane's own
    await work(lanes, 8, site, [30, 30])
    assert site.order[:60].count(lanes[0]) in range(28, 33)


async def test_one_lane_alone_has_all_permits() -> None:
    """Its workers are as many."""
    gate = gate_for(2)
    turn = Turn(gate, lambda: 0, lambda: True, lambda: None)
    gate.join(turn, Prober())
    assert [turn.admits() for _ in range(3)] == [True, True, True]


async def test_a_lane_that_ends_frees_its_part() -> None:
    """Also where its attempts were cancelled."""
    gate, site = gate_for(1), Site()
    stuck, other = Lane(gate, 1), Lane(gate, 1)
    hanging = asyncio.create_task(stuck.work(_Hanging()))
    await eventually(lambda: stuck.began)
    working = asyncio.create_task(other.work(site))
    await asyncio.sleep(0)
    assert not other.began
    hanging.cancel()
    await eventually(lambda: other.began)
    working.cancel()
    await asyncio.wait([hanging, working])


class _Hanging(Site):
    async def attempt(self) -> None:
        await asyncio.Event().wait()


async def test_a_success_counts_by_the_clock_of_each_redis() -> None:
    """The Redis of another source may be an hour ahead: what it accepted before a failure is no strike."""
    gate = gate_for(1)
    ahead, here = Lane(gate, 0, now=100_000 + HOUR_MS).turn, Lane(gate, 0, now=100_000).turn
    failed = Cdr(b"a", history=History(attempts=1, last_failed_at=90_000))
    ahead.record_success(Cdr(b"b"), 80_000 + HOUR_MS)
    assert not here.is_strike(failed)
    ahead.record_success(Cdr(b"b"), 95_000 + HOUR_MS)
    assert here.is_strike(failed)


def open_breaker() -> Breaker:
    breaker = Breaker(1, Timings(first_probe=0.0))
    breaker.record_failure("a", 1.0, Verdict(Kind.TRANSIENT, "connect"))
    return breaker


def test_lanes_probe_in_turn() -> None:
    """One at a time; then it is the next one's turn."""
    breaker = open_breaker()
    probing, one, two = Probing(breaker, 5), Prober(), Prober()
    probing.join(one)
    probing.join(two)
    assert (probing.wait(one), probing.wait(two)) == (0, 1)
    with probing.turn(one):
        assert 0 < probing.wait(two) <= 5
        with probing.attempt():
            assert probing.wait(two) == 1
        breaker.end_probe(stays=True)
    assert (probing.wait(one), probing.wait(two)) == (1, 0)
    assert two.woken == 1


def test_a_lane_with_nothing_to_probe_with_passes_its_turn_on() -> None:
    """At once; when no lane has anything, there is a pause."""
    breaker = open_breaker()
    probing, one, two = Probing(breaker, 5), Prober(), Prober()
    probing.join(one)
    probing.join(two)
    due = breaker.probe_at
    with probing.turn(one):
        pass
    assert (breaker.state, breaker.probe_at, probing.wait(two)) == (State.OPEN, due, 0)
    with probing.turn(two):
        pass
    assert breaker.probe_at > due


def test_a_lane_without_lease_has_no_turn() -> None:
    """Its Redis may be away for hours."""
    probing, one, two = Probing(open_breaker(), 5), Prober(held=False), Prober()
    probing.join(one)
    probing.join(two)
    assert probing.wait(two) == 0


def test_a_lane_that_finds_nothing_for_long_loses_its_turn() -> None:
    """What it finds later is no probe, and ends none."""
    breaker = open_breaker()
    probing, slow, other = Probing(breaker, 0.0), Prober(), Prober()
    probing.join(slow)
    probing.join(other)
    with probing.turn(slow):
        assert probing.wait(other) == 0
        with probing.turn(other):
            assert not probing.is_turn_of(slow)
        assert breaker.state is State.OPEN
    assert breaker.state is State.OPEN
