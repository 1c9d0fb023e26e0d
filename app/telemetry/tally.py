"""Sum up events that may come in thousands."""

import asyncio
from collections.abc import Callable
from typing import Any


class Tally:
    """Tells the first one at once, and sums up all that follow once in so many seconds.

    `tell`: called with how many there were, and what was said of the last one.
    """

    def __init__(self, tell: Callable[[int, Any], None], seconds: float) -> None:
        self._tell, self._seconds = tell, seconds
        self._number = 0
        self._last: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def add(self, about: Any) -> None:
        self._last = about
        # The first one is told at once: an operator who has just made a mistake sees it.
        if self._timer is None:
            self._tell(1, about)
            self._wait()
        else:
            self._number += 1

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)

    def _end(self) -> None:
        self._timer = None
        if self._number:
            self._tell(self._number, self._last)
            self._number = 0
            self._wait()
