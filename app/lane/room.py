"""Adapt how much is claimed ahead of free workers."""

import time

from app.config.timings import Timings


class Room:
    """Limits how many CDRs may be in flight: one for each worker, and as many more as a claim takes to arrive.

    That is found by starvation: it doubles when workers find nothing to do though more is pending, and shrinks
    when none of them has for a while.
    """

    def __init__(self, concurrency: int, timings: Timings) -> None:
        self._concurrency = concurrency
        self._timings = timings
        self._prefetch = concurrency
        self._plenty_since = time.monotonic()

    @property
    def number(self) -> int:
        return self._concurrency + self._prefetch

    def starved(self) -> None:
        """Note that workers found nothing to do, and there was more."""
        self._prefetch = min(2 * self._prefetch, self._timings.prefetch)
        self._plenty_since = time.monotonic()

    def had_plenty(self) -> None:
        """Note that workers always found something to do."""
        if time.monotonic() - self._plenty_since >= self._timings.plenty:
            self._prefetch = max(self._concurrency, self._prefetch * 3 // 4)
            self._plenty_since = time.monotonic()
