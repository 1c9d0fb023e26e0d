"""What a verdict leads to, as a table: kind, strike, history."""

from dataclasses import replace

import pytest

from app.cdr import NEVER_FAILED, Cdr, History
from app.config.timings import Timings
from app.delivery.verdict import Kind, Verdict
from app.lane.decision import Rules, after

NOW = 1_700_000_000_000
MINUTE = 60_000
DAY = 86_400_000
RULES = Rules(backoff=0.5, backoff_max=3600, give_up_after=3 * 86_400, timings=Timings())

DELIVERED = Verdict(Kind.DELIVERED, "success", 200)
REJECTED = Verdict(Kind.REJECTED, "http_4xx", 422)
TRANSIENT = Verdict(Kind.TRANSIENT, "http_5xx", 503)

ONCE_REJECTED = History(
    attempts=1, first_failed_at=NOW - MINUTE, last_failed_at=NOW - MINUTE, first_rejected_at=NOW - MINUTE
)
JUST_REJECTED = replace(ONCE_REJECTED, first_rejected_at=NOW - MINUTE + 1)
LONG_STRUCK = History(attempts=9, strikes=5, first_failed_at=1, first_strike_at=NOW - 3 * DAY, last_failed_at=NOW - 1)
SHORT_STRUCK = replace(LONG_STRUCK, first_strike_at=NOW - 3 * DAY + 1)
FEW_ATTEMPTS = replace(LONG_STRUCK, attempts=8)
LONG_FAILED = History(attempts=500, first_failed_at=NOW - 30 * DAY, last_failed_at=NOW - 1)


@pytest.mark.parametrize(
    ("verdict", "strike", "history", "action", "reason"),
    [
        (DELIVERED, False, NEVER_FAILED, "ack", None),
        (DELIVERED, False, LONG_STRUCK, "ack", None),
        (REJECTED, False, NEVER_FAILED, "defer", None),
        (REJECTED, True, NEVER_FAILED, "defer", None),
        (REJECTED, True, ONCE_REJECTED, "dead_letter", "rejected"),
        (REJECTED, False, ONCE_REJECTED, "defer", None),
        (REJECTED, True, JUST_REJECTED, "defer", None),
        (REJECTED, True, LONG_STRUCK, "dead_letter", "gave_up"),
        (REJECTED, False, LONG_STRUCK, "defer", None),
        (TRANSIENT, False, NEVER_FAILED, "defer", None),
        (TRANSIENT, True, ONCE_REJECTED, "defer", None),
        (TRANSIENT, True, LONG_STRUCK, "dead_letter", "gave_up"),
        (TRANSIENT, False, LONG_STRUCK, "defer", None),
        (TRANSIENT, True, SHORT_STRUCK, "defer", None),
        (TRANSIENT, True, FEW_ATTEMPTS, "defer", None),
        (TRANSIENT, True, LONG_FAILED, "defer", None),
    ],
)
def test_decides(verdict: Verdict, *, strike: bool, history: History, action: str, reason: str | None) -> None:
    """Only at a strike is a CDR given up or its second rejection final; only 2xx acks."""
    decision = RULES.decide(Cdr(b"cdr", history=history), verdict, NOW, strike=strike)
    assert decision.action == action
    if reason:
        assert decision.reason == reason


def test_a_rejection_of_the_future_is_one_of_now() -> None:
    """Redis' clock was set back by ten hours: a minute is waited for, as always, and nothing is final before it."""
    history = replace(ONCE_REJECTED, first_rejected_at=NOW + 36_000_000)
    decision = RULES.decide(Cdr(b"cdr", history=history), REJECTED, NOW, strike=True)
    assert (decision.action, decision.delay) == ("defer", 60)
    assert decision.history.first_rejected_at == NOW


def test_never_gives_up() -> None:
    """GIVE_UP_AFTER 0: never."""
    rules = replace(RULES, give_up_after=0)
    decision = rules.decide(Cdr(b"cdr", history=LONG_STRUCK), TRANSIENT, NOW, strike=True)
    assert decision.action == "defer"


def test_waits_a_minute_after_a_first_rejection() -> None:
    """The second rejection decides: it must not come from the same storm."""
    decision = RULES.decide(Cdr(b"cdr"), REJECTED, NOW, strike=False)
    assert decision.delay == 60
    assert decision.history.first_rejected_at == NOW


def test_waits_for_the_rest_of_the_minute() -> None:
    """A probe may reject it sooner: that is not final, and the minute counts from the first rejection."""
    early = replace(ONCE_REJECTED, first_rejected_at=NOW - MINUTE // 3)
    decision = RULES.decide(Cdr(b"cdr", history=early), REJECTED, NOW, strike=True)
    assert 40 <= decision.delay <= 60
    assert decision.history.first_rejected_at == NOW - MINUTE // 3


def test_retry_after_is_the_least() -> None:
    """However short the backoff."""
    held = Verdict(Kind.TRANSIENT, "http_4xx", 429, 90)
    assert RULES.decide(Cdr(b"cdr"), held, NOW, strike=False).delay >= 90


@pytest.mark.parametrize(
    ("attempts", "strikes", "longest"),
    [
        (0, 0, 1),
        (1, 0, 2),
        (3, 0, 8),
        (20, 0, 60),
        (20, 6, 60),
        (20, 8, 128),
        (20, 30, 3600),
        (10**8, 10**8, 3600),
        (1, 30, 2),
    ],
)
def test_backoff(attempts: int, strikes: int, longest: float) -> None:
    """Full jitter up to BACKOFF * 2^attempts; a minute at most without strikes, BACKOFF_MAX with many."""
    history = History(attempts=attempts, strikes=strikes, first_failed_at=1, last_failed_at=1)
    drawn = [RULES.decide(Cdr(b"cdr", history=history), TRANSIENT, NOW, strike=False).delay for _ in range(300)]
    assert max(drawn) <= longest
    assert max(drawn) > 0.8 * longest
    assert min(drawn) < 0.2 * longest


def test_backoff_max_below_a_minute() -> None:
    """BACKOFF_MAX is the longest, also where it is short."""
    rules = replace(RULES, backoff_max=2)
    history = History(attempts=20, first_failed_at=1, last_failed_at=1)
    assert all(rules.decide(Cdr(b"x", history=history), TRANSIENT, NOW, strike=False).delay <= 2 for _ in range(100))


def test_history_of_a_first_failure() -> None:
    """It is no strike."""
    history = after(NEVER_FAILED, TRANSIENT, NOW, strike=False)
    assert history == History(attempts=1, first_failed_at=NOW, last_failed_at=NOW, last_result="http_5xx")


def test_history_of_a_strike() -> None:
    """The first strike is remembered, as the first failure and the first rejection are."""
    before = replace(ONCE_REJECTED, replayed=True)
    struck = after(after(before, REJECTED, NOW, strike=True), TRANSIENT, NOW + 5, strike=True)
    assert (struck.attempts, struck.strikes, struck.first_strike_at, struck.last_failed_at) == (3, 2, NOW, NOW + 5)
    assert (struck.first_failed_at, struck.first_rejected_at) == (NOW - MINUTE, NOW - MINUTE)
    assert struck.replayed


def test_a_failure_that_is_no_strike_leaves_strikes_alone() -> None:
    """An outage says nothing of a CDR, and does not acquit it either."""
    history = after(LONG_STRUCK, TRANSIENT, NOW, strike=False)
    assert (history.strikes, history.first_strike_at) == (5, NOW - 3 * DAY)
