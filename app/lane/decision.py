"""Decide what a verdict leads to: the only place that chooses between ack, defer and dead letter.

A rejected batch arrives here as transient: see `BatchSettler._failed`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from app.cdr import NEVER_FAILED, Cdr, History
from app.config.timings import Timings
from app.dead_letters.letter import Reason
from app.delivery.verdict import Kind, Verdict


@dataclass(frozen=True, slots=True)
class Decision:
    """Says what becomes of a CDR. `history` includes a failed attempt; `delay`: seconds until a deferred one is due."""

    action: Literal["ack", "defer", "dead_letter"]
    history: History
    delay: float = 0.0
    reason: Reason = "rejected"


ACK = Decision("ack", NEVER_FAILED)


@dataclass(frozen=True)
class Rules:
    """Holds the settings of one endpoint that decide. Durations are seconds; `give_up_after` 0: never."""

    backoff: float
    backoff_max: float
    give_up_after: float
    timings: Timings

    def decide(self, cdr: Cdr, verdict: Verdict, now: int, *, strike: bool) -> Decision:
        """Return what the verdict leads to. `now`: ms of Redis' clock.

        `strike`: whether the endpoint accepted another CDR since this one's last failure.
        """
        if verdict.kind is Kind.DELIVERED:
            return ACK
        before = cdr.history.known_by(now)
        history = after(before, verdict, now, strike=strike)
        match verdict.kind:
            case Kind.REJECTED if strike and self._is_second_rejection(before, now):
                return Decision("dead_letter", history)
            case Kind.REJECTED | Kind.TRANSIENT if strike and self._gives_up(history, now):
                return Decision("dead_letter", history, reason="gave_up")
            case Kind.REJECTED:
                return Decision("defer", history, max(self._backoff(history), self._until_second_counts(history, now)))
            case Kind.TRANSIENT:
                return Decision("defer", history, max(self._backoff(history), verdict.retry_after or 0.0))
            case _:
                assert_never(verdict.kind)

    def defer_together(self, cdrs: Sequence[Cdr], verdict: Verdict, now: int) -> list[Decision]:
        """Return what becomes of the CDRs of a batch that failed: all are due at once, to come back together."""
        histories = [after(cdr.history.known_by(now), verdict, now, strike=False) for cdr in cdrs]
        delay = max(self._backoff(histories[0]), verdict.retry_after or 0.0)
        return [Decision("defer", history, delay) for history in histories]

    def _is_second_rejection(self, before: History, now: int) -> bool:
        """Tell whether it was rejected before, at least `between_rejections` ago: a bad deploy would be over."""
        return before.first_rejected_at > 0 and self._until_second_counts(before, now) <= 0

    def _until_second_counts(self, history: History, now: int) -> float:
        return history.first_rejected_at / 1000 + self.timings.between_rejections - now / 1000

    def _gives_up(self, history: History, now: int) -> bool:
        lasts = (now - history.first_strike_at) / 1000
        return 0 < self.give_up_after <= lasts and history.attempts >= self.timings.least_attempts

    def _backoff(self, history: History) -> float:
        """Draw the pause before the next attempt. Only strikes make it longer than `between_rejections`."""
        # After a thousand strikes, 2 ** strikes is no float any more.
        struck = self.backoff * 2 ** min(history.strikes, 40)
        longest = min(self.backoff_max, max(self.timings.between_rejections, struck))
        drawn = RetryCallState(_JITTER, None, (), {})
        drawn.attempt_number = min(history.attempts, 40) + 1
        return wait_random_exponential(self.backoff, longest)(drawn)


_JITTER = AsyncRetrying()
"""Never run: tenacity's full jitter wants to know whose pause it draws."""


def after(before: History, verdict: Verdict, now: int, *, strike: bool) -> History:
    """Return a CDR's history with one more failure. One that is no strike leaves the strikes alone."""
    rejected_at = before.first_rejected_at or (now if verdict.kind is Kind.REJECTED else 0)
    return replace(
        before,
        attempts=before.attempts + 1,
        strikes=before.strikes + strike,
        first_failed_at=before.first_failed_at or now,
        first_strike_at=before.first_strike_at or (now if strike else 0),
        last_failed_at=now,
        last_result=verdict.result,
        first_rejected_at=rejected_at,
    )
