"""Redis' time between two answers."""

import time

from app.store.clock import RedisClock


def offset_of(clock: RedisClock) -> float:
    """Seconds that the clock is ahead of ours."""
    return round(clock.now() / 1000 - time.time(), 1)


def note(clock: RedisClock, ahead: float, took: float = 0.002, ago: float = 0) -> None:
    """Have it learn from an answer that took so long, of a Redis whose clock is so far ahead."""
    received = time.monotonic() - ago
    redis = time.time() - ago - took / 2 + ahead
    clock.note(received - took, received, int(redis * 1000))


def test_ours_before_any_answer() -> None:
    """It is the best guess."""
    assert offset_of(RedisClock()) == 0


def test_learns_from_an_answer() -> None:
    """However slow, the first one is better than nothing."""
    clock = RedisClock()
    note(clock, 100, took=4)
    assert offset_of(clock) == 100


def test_keeps_the_most_exact() -> None:
    """A slow answer that agrees changes nothing, a faster one does."""
    clock = RedisClock()
    note(clock, 100, took=2)
    note(clock, 100.6, took=4)
    assert offset_of(clock) == 100
    note(clock, 100.6, took=1.5)
    assert offset_of(clock) == 100.6


def test_goes_on_though_it_was_ahead() -> None:
    """A more exact answer corrects the estimate, and what happens next is not earlier than what happened before."""
    clock = RedisClock()
    note(clock, 0.5, took=2)
    before = clock.now()
    note(clock, 0, took=0.002)
    assert before <= clock.now() <= before + 100


def test_believes_a_clock_that_was_set() -> None:
    """An answer that contradicts by more than both can be wrong: set back by hours, say."""
    clock = RedisClock()
    note(clock, 0)
    note(clock, -7200, took=4)
    assert offset_of(clock) == -7200


def test_an_old_answer_is_trusted_less() -> None:
    """Clocks drift: a millisecond a second."""
    clock = RedisClock()
    note(clock, 100, ago=3600)
    note(clock, 103, took=1)
    assert offset_of(clock) == 103
