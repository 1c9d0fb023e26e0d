"""Spread attempts evenly over time."""

import time
from typing import Final

BURST: Final = 0.1
"""Seconds' worth of attempts that may be made at once."""


class RateLimit:
    """Limits attempts to `rate` a second, a tenth of a second's worth at once; 0: as many as there are.

    This is the generic cell rate algorithm (ITU-T I.371): one number instead of a bucket and a timer.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._allowed_at = 0.0

    def wait(self) -> float:
        """Return the seconds until an attempt may be made; 0: now."""
        return max(0.0, self._allowed_at - BURST - time.monotonic()) if self._interval else 0.0

    def count(self) -> None:
        if self._interval:
            self._allowed_at = max(self._allowed_at, time.monotonic()) + self._interval
