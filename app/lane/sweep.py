"""How far a pass over the processing list has come, and what it has found."""

import time
from collections import Counter


class Sweep:
    """Passes over one list, a page at a time, from the head; CDRs may leave and join the list between pages.

    What stands before the cursor is known exactly: it only leaves through `removed`, and others join at the tail.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self.due_at = 0.0
        self._begin()

    def _begin(self) -> None:
        self.cursor = 0
        self.found = 0
        self._passed: Counter[bytes] = Counter()

    @property
    def due(self) -> bool:
        return time.monotonic() >= self.due_at

    def soon(self, seconds: float = 0.0) -> None:
        self.due_at = min(self.due_at, time.monotonic() + seconds)

    def again(self) -> None:
        """Begin at the head: the list has been changed by somebody else."""
        self._begin()
        self.soon()

    def step(self, body: bytes) -> int:
        """Move the cursor past one element, and return how many copies of it have been passed."""
        self.cursor += 1
        self._passed[body] += 1
        return self._passed[body]

    def has_passed(self, body: bytes) -> bool:
        return body in self._passed

    def removed(self, body: bytes) -> None:
        """Take note of an element that has left the list; where a copy was passed, it was that one."""
        if self._passed[body] > 0:
            self._passed[body] -= 1
            self.cursor -= 1
        if not self._passed[body]:
            del self._passed[body]

    def end(self) -> int:
        """End a pass; the next begins at once if this one found something. Return how many it found."""
        found = self.found
        self._begin()
        self.due_at = time.monotonic() + (0.0 if found else self._interval)
        return found
