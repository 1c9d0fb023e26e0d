"""When an endpoint is down, and when it is probed."""

import time

import pytest

from app.config.timings import Timings
from app.delivery.breaker import Breaker, State
from app.delivery.verdict import Kind, Verdict

REFUSED = Verdict(Kind.TRANSIENT, "connect")
GONE = Verdict(Kind.TRANSIENT, "http_4xx", 410)
UNAVAILABLE = Verdict(Kind.TRANSIENT, "http_5xx", 503)


def fail(breaker: Breaker, *ids: str, verdict: Verdict = REFUSED) -> None:
    for webhook_id in ids:
        breaker.record_failure(webhook_id, time.monotonic(), verdict)


def opened(verdict: Verdict = REFUSED) -> Breaker:
    breaker = Breaker(1, Timings())
    fail(breaker, "a", verdict=verdict)
    assert breaker.state is State.OPEN
    return breaker


def wait_of(breaker: Breaker) -> float:
    return round(breaker.probe_at - time.monotonic(), 1)


def test_opens_after_failures_of_different_cdrs() -> None:
    """The same one may fail as often as it likes."""
    breaker = Breaker(3, Timings())
    fail(breaker, "a", "a", "a", "a", "b", "b")
    assert breaker.is_closed
    fail(breaker, "c")
    assert breaker.state is State.OPEN
    assert wait_of(breaker) == 1


def test_a_success_breaks_the_row() -> None:
    """Failures count in a row."""
    breaker = Breaker(3, Timings())
    fail(breaker, "a", "b")
    breaker.record_success()
    fail(breaker, "c", "d")
    assert breaker.is_closed


def test_attempts_from_before_the_last_success_do_not_count() -> None:
    """They say nothing of now."""
    breaker, began = Breaker(1, Timings()), time.monotonic()
    breaker.record_success()
    breaker.record_failure("a", began, REFUSED)
    assert breaker.is_closed


@pytest.mark.parametrize("state", [State.OPEN, State.HALF_OPEN])
def test_a_success_closes_it(state: State) -> None:
    """Any 2xx does, also one that began before."""
    breaker = opened(GONE)
    breaker.state = state
    breaker.record_success()
    assert breaker.is_closed
    assert not breaker.is_gone


def test_failures_while_it_is_open_change_nothing() -> None:
    """Late answers neither delay the next probe nor count for the next row."""
    breaker = opened()
    due = breaker.probe_at
    fail(breaker, "b", "c")
    assert (breaker.state, breaker.probe_at) == (State.OPEN, due)


def test_pauses_double_to_a_minute() -> None:
    """While probes get no answer about their CDR."""
    breaker, waits = opened(), []
    for _ in range(8):
        breaker.begin_probe()
        assert breaker.state is State.HALF_OPEN
        breaker.end_probe(stays=False)
        waits.append(wait_of(breaker))
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


def test_pauses_stay_at_a_second() -> None:
    """The endpoint is there, and refuses those CDRs; once it is silent again they double from there."""
    breaker = opened()
    for stays, wait in [(False, 2), (True, 1), (True, 1), (False, 2)]:
        breaker.begin_probe()
        breaker.end_probe(stays=stays)
        assert wait_of(breaker) == wait


def test_a_full_row_of_410_means_gone() -> None:
    """Probed once an hour, until a probe is answered something else."""
    breaker = opened(GONE)
    assert breaker.is_gone
    assert wait_of(breaker) == 3600
    breaker.begin_probe()
    breaker.end_probe(stays=False, gone=True)
    assert wait_of(breaker) == 3600
    breaker.begin_probe()
    breaker.end_probe(stays=False)
    assert not breaker.is_gone
    assert wait_of(breaker) == 60


def test_one_410_is_a_failure_like_another() -> None:
    """Only a full row of them means gone."""
    breaker = Breaker(2, Timings())
    fail(breaker, "a", verdict=GONE)
    fail(breaker, "b", verdict=UNAVAILABLE)
    assert not breaker.is_gone
    assert wait_of(breaker) == 1


def test_probe_now() -> None:
    """An operator asks for it."""
    breaker = opened(GONE)
    breaker.probe_now()
    assert breaker.probe_at <= time.monotonic()


def test_a_probe_that_was_accepted_waits_for_none() -> None:
    """The late end of a pair must not open it again."""
    breaker = opened()
    breaker.begin_probe()
    breaker.record_success()
    breaker.end_probe(stays=False)
    assert breaker.is_closed


def test_nothing_to_probe_with() -> None:
    """Looks again in a second, without making the pause longer; closed meanwhile, it stays closed."""
    breaker = opened()
    breaker.begin_probe()
    breaker.look_again()
    assert (breaker.state, wait_of(breaker)) == (State.OPEN, 1)
    breaker.begin_probe()
    breaker.record_success()
    breaker.look_again()
    assert breaker.is_closed
