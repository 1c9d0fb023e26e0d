"""Adapt how much is claimed ahead of free workers."""

import time

from app.config.timings import Timings


class Room:
    """Limits how many CDRs may be in flight: `at_work`, what all workers hold, and the prefetch that covers a claim.

    The prefetch adapts: it doubles when workers find nothing to do though more is pending, and shrinks when they have
    always found something for a while.
    """

    def __init__(self, at_work: int, timings: Timings) -> None:
        self._at_work = min(at_work, timings.most_at_work)
        self._timings = timings
        self._least = self._prefetch = min(self._at_work, timings.prefetch)
        self._plenty_since = time.monotonic()

    @property
    def limit(self) -> int:
        return self._at_work + self._prefetch

    def grow(self) -> None:
        """Claim further ahead: workers found nothing to do, and there was more."""
        self._prefetch = min(2 * self._prefetch, self._timings.prefetch)
        self._plenty_since = time.monotonic()

    def shrink_in_time(self) -> None:
        """Claim less far ahead if workers have always found something to do for `Timings.plenty` seconds."""
        if time.monotonic() - self._plenty_since >= self._timings.plenty:
            self._prefetch = max(self._least, self._prefetch * 3 // 4)
            self._plenty_since = time.monotonic()
