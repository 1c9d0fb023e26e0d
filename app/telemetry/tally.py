"""Sum up events that may come in thousands."""

import asyncio
from collections import Counter
from collections.abc import Callable


class Tally:
    """Tells the first one at once, and sums up all that follow once a minute.

    `tell` is called with how many there were of each kind.
    """

    def __init__(self, tell: Callable[[Counter[str]], None], seconds: float) -> None:
        self._tell, self._seconds = tell, seconds
        self._counts: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, kind: str, number: int = 1) -> None:
        self._counts[kind] += number
        # The first one is told at once: an operator who has just made a mistake sees it.
        if self._timer is None:
            self._report()

    def close(self) -> None:
        """Tell what was not told yet, and start no timer any more."""
        if self._timer:
            self._timer.cancel()
        if self._counts:
            self._tell(self._counts)
            self._counts = Counter()

    def _report(self) -> None:
        counts, self._counts = self._counts, Counter()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)
        self._tell(counts)

    def _end(self) -> None:
        self._timer = None
        if self._counts:
            self._report()
