"""Let attempts at one endpoint pass, or hold them back."""

import asyncio
import time
from collections.abc import Callable

from app.cdr import Cdr
from app.config.timings import Timings
from app.delivery.breaker import Breaker
from app.delivery.probing import Candidate, Probing
from app.delivery.rate_limit import RateLimit
from app.delivery.turn import Turn
from app.delivery.verdict import Verdict


class Gate:
    """Holds what each attempt must pass: breaker, hold and rate limit. One per endpoint, for all its lanes.

    `concurrency`: how many attempts all of them may make at once.
    """

    def __init__(self, breaker: Breaker, rate_limit: float, concurrency: int, timings: Timings) -> None:
        self.breaker = breaker
        self.probing = Probing(breaker, timings.reply_patience)
        self.turns: list[Turn] = []
        self.held_until = 0.0
        self.is_rate_limited = rate_limit > 0
        self._concurrency = concurrency
        self._served = 0
        self._rate = RateLimit(rate_limit)
        self._timings = timings
        self._listeners: list[Callable[[], None]] = []
        self._alarm: asyncio.TimerHandle | None = None

    def listen(self, listener: Callable[[], None]) -> None:
        """Have it called when attempts may pass that could not before, and when they may not any more."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    def join(self, turn: Turn, candidate: Candidate) -> None:
        """Let a lane take part."""
        self.turns.append(turn)
        self.probing.join(candidate)

    def leave(self, turn: Turn, candidate: Candidate) -> None:
        self.turns.remove(turn)
        self.probing.leave(candidate)
        for other in self.turns:
            other.wake()

    @property
    def free(self) -> int:
        """Return how many more attempts may be made at once."""
        return self._concurrency - sum(turn.used for turn in self.turns)

    def serve(self) -> int:
        """Return a number that is higher each time."""
        self._served += 1
        return self._served

    @property
    def is_passing(self) -> bool:
        """Tell whether attempts pass, but for the rate limit."""
        return self.breaker.is_closed and time.monotonic() >= self.held_until

    @property
    def holds_for_long(self) -> bool:
        """Tell whether what was claimed is better given back: others may deliver it, or it can wait in Redis."""
        return not self.breaker.is_closed or self.held_until - time.monotonic() > self._timings.short_hold

    @property
    def held_for(self) -> float:
        """Return the seconds for which the endpoint still asks for time; 0 where it does not."""
        return max(0.0, self.held_until - time.monotonic())

    def admits(self) -> bool:
        """Tell whether an attempt may begin now, and count it: it must be made."""
        if not self.is_passing:
            return False
        if wait := self._rate.wait():
            self._wake_in(wait)
            return False
        self._rate.count()
        return True

    def record_success(self) -> None:
        """Take note of a 2xx."""
        was_closed = self.breaker.is_closed
        self.breaker.record_success()
        if not was_closed:
            self._tell()

    def record_failure(self, cdr: Cdr, began: float, verdict: Verdict, *, strike: bool) -> None:
        """Take note of a failure of an attempt that began at `began` (monotonic)."""
        if strike:
            return
        was_passing = self.is_passing
        if not cdr.history.replayed:
            self.breaker.record_failure(cdr.webhook_id, began, verdict)
        if verdict.hold:
            self.hold(verdict.hold)
        if was_passing and not self.is_passing:
            self._tell()

    def probe_now(self) -> None:
        """Probe at once, as an operator asks: a hold is over, and whoever waits for the next probe looks again."""
        self.held_until = 0.0
        self.breaker.probe_now()
        self._tell()

    def hold(self, seconds: float) -> None:
        """Let nothing pass for so long."""
        self.held_until = max(self.held_until, time.monotonic() + seconds)
        self._wake_in(self.held_for)

    def _wake_in(self, seconds: float) -> None:
        if self._alarm is None or self._alarm.cancelled():
            self._alarm = asyncio.get_running_loop().call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        if held := self.held_for:
            self._wake_in(held)
        else:
            self._tell()

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()
