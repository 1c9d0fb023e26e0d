"""What each attempt must pass, and who is told when that changes."""

import asyncio
import time

from app.cdr import Cdr, History
from app.config.timings import Timings
from app.delivery.breaker import Breaker
from app.delivery.gate import Gate
from app.delivery.turn import Turn
from app.delivery.verdict import Kind, Verdict
from tests.support.harness import eventually

REFUSED = Verdict(Kind.TRANSIENT, "connect")
HELD = Verdict(Kind.TRANSIENT, "http_4xx", 429, 30)
FAILED_AT_5 = History(attempts=1, last_failed_at=5)


def gate_of(rate: float = 0, threshold: int = 1) -> tuple[Gate, list[bool]]:
    """Return a gate, and whether it passed each time that a listener was told."""
    gate = Gate(Breaker(threshold, Timings()), rate, 32, Timings())
    told: list[bool] = []
    gate.listen(lambda: told.append(gate.is_passing))
    return gate, told


def fail(gate: Gate, cdr: Cdr, verdict: Verdict = REFUSED, *, strike: bool = False) -> None:
    gate.record_failure(cdr, time.monotonic(), verdict, strike=strike)


async def test_passes() -> None:
    """Without a rate limit, as often as one likes."""
    gate, told = gate_of()
    assert all(gate.admits() for _ in range(1000))
    assert told == []


async def test_shut_while_the_breaker_is_open() -> None:
    """Listeners are told when it shuts, and when a 2xx opens it; what was claimed is given back meanwhile."""
    gate, told = gate_of()
    fail(gate, Cdr(b"a"))
    assert not gate.admits()
    assert gate.holds_for_long
    gate.record_success()
    assert gate.admits()
    assert told == [False, True]


async def test_a_hold() -> None:
    """Nothing passes for as long as the endpoint asks."""
    gate, told = gate_of(threshold=9)
    fail(gate, Cdr(b"a"), HELD)
    assert not gate.admits()
    assert 29 < gate.held_for <= 30
    assert gate.holds_for_long
    assert told == [False]


async def test_a_shorter_hold_does_not_end_a_longer_one() -> None:
    """The last to end counts."""
    gate, _ = gate_of()
    gate.hold(30)
    gate.hold(1)
    assert gate.held_for > 29


async def test_a_short_hold_keeps_what_was_claimed() -> None:
    """Giving it back would cost more than waiting."""
    gate, _ = gate_of()
    gate.hold(4)
    assert not gate.is_passing
    assert not gate.holds_for_long


async def test_listeners_are_woken_when_a_hold_ends() -> None:
    """Also where it was made longer meanwhile."""
    gate, told = gate_of()
    gate.hold(0.01)
    gate.hold(0.05)
    await eventually(lambda: told)
    assert told == [True]


async def test_a_hold_that_ends_while_the_breaker_is_open() -> None:
    """They look, and find it shut."""
    gate, told = gate_of()
    fail(gate, Cdr(b"a"), Verdict(Kind.TRANSIENT, "http_4xx", 429, 0.02))
    await eventually(lambda: told == [False, False])


async def test_rate_limit_wakes() -> None:
    """Who was not admitted is woken when the next attempt may be made."""
    gate, told = gate_of(rate=50)
    assert [gate.admits() for _ in range(7)].count(True) == 6
    await eventually(lambda: told)
    assert gate.admits()


async def test_not_woken_after_it_forgot() -> None:
    """A lane that has ended is told no more."""
    gate = Gate(Breaker(1, Timings()), 0, 32, Timings())
    told: list[int] = []

    def listener() -> None:
        told.append(1)

    gate.listen(listener)
    gate.forget(listener)
    gate.hold(0.01)
    ended = asyncio.get_running_loop().time() + 0.05
    await eventually(lambda: asyncio.get_running_loop().time() > ended)
    assert told == []


async def test_strikes() -> None:
    """Another CDR was accepted since this one failed last."""
    gate, _ = gate_of()
    turn = Turn(gate, lambda: 0, lambda: False, lambda: None)
    struck = Cdr(b"a", history=FAILED_AT_5)
    assert not turn.is_strike(struck)
    turn.record_success(Cdr(b"a"), 10)
    assert not turn.is_strike(struck)
    turn.record_success(Cdr(b"b"), 9)
    assert turn.is_strike(struck)
    assert not turn.is_strike(Cdr(b"c"))


async def test_a_strike_says_nothing_of_the_endpoint() -> None:
    """It neither opens the breaker nor holds anybody else."""
    gate, told = gate_of()
    fail(gate, Cdr(b"a", history=FAILED_AT_5), HELD, strike=True)
    assert gate.admits()
    assert told == []


async def test_replayed_ones_never_open_the_breaker() -> None:
    """Ten bad letters are no outage; but what they are answered about the endpoint holds."""
    gate, _ = gate_of()
    replayed = Cdr(b"a", history=History(replayed=True))
    fail(gate, replayed)
    assert gate.admits()
    fail(gate, replayed, HELD)
    assert not gate.admits()


async def test_deferred_ones_open_the_breaker() -> None:
    """Those that failed before count as others do, while nobody is accepted."""
    gate, _ = gate_of(threshold=2)
    fail(gate, Cdr(b"a", history=FAILED_AT_5))
    fail(gate, Cdr(b"b", history=FAILED_AT_5))
    assert not gate.admits()
