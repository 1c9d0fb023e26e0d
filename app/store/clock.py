"""Estimate Redis' time between two answers: all processes that share a retry set share its clock."""

import math
import time
from typing import Final

DRIFT: Final = 0.001
"""Seconds per second: how much less an old answer is trusted."""


class RedisClock:
    """Estimates Redis' clock, in milliseconds, from answers that carry its TIME.

    The answer with the shortest round trip is the most exact one. A late answer is believed only where it
    contradicts the estimate by more than both can be wrong: then somebody has set the clock. Only then does `now` go
    back: what happened later never looks earlier.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._error = math.inf
        self._noted_at = 0.0
        self._latest = 0

    def now(self) -> int:
        self._latest = max(self._latest, int((time.monotonic() + self._offset) * 1000))
        return self._latest

    def note(self, sent: float, received: float, redis_ms: int) -> None:
        """Learn from an answer: when its command was sent and it was received (monotonic), and its TIME."""
        offset, error = redis_ms / 1000 - (sent + received) / 2, (received - sent) / 2
        known = self._error + DRIFT * (received - self._noted_at)
        contradicts = abs(offset - self._offset) > error + known
        if contradicts or self._error == math.inf:  # before the first answer, it was the clock of this machine
            self._latest = 0
        if contradicts or error <= known:
            self._offset, self._error, self._noted_at = offset, error, received
