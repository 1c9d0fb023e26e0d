"""Hand CDRs from the claimer to the workers."""

import asyncio
from collections import deque
from collections.abc import Iterable

from app.cdr import Cdr, Origin


class Inbox:
    """Holds CDRs that wait for a free worker. Retried ones have a queue of their own, and are taken first.

    But while new ones wait, only a quarter of the workers take retried ones, and a single worker takes them in
    turn: CDRs that fail for ever must not keep good ones waiting.
    """

    def __init__(self, concurrency: int) -> None:
        self.times_empty = 0
        """How often a worker found nothing to take."""
        self._share = max(1, concurrency // 4)
        self._alternates = concurrency == 1
        self._turn_of_new = False
        self._retrying = 0
        self._new: deque[Cdr] = deque()
        self._retried: deque[Cdr] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._new) + len(self._retried)

    @property
    def is_ready(self) -> bool:
        """Tell whether there is something to take now."""
        return bool(self._new or self._retried)

    @property
    def retried(self) -> int:
        return len(self._retried)

    def put(self, cdrs: Iterable[Cdr]) -> None:
        for cdr in cdrs:
            (self._retried if cdr.origin is Origin.RETRY else self._new).append(cdr)
            self.wake_one()

    def take(self) -> Cdr | None:
        """Return the next CDR; None where there is none. Call `done` for each that was taken."""
        if self._retried and self._may_retry():
            self._retrying += 1
            self._turn_of_new = True
            return self._retried.popleft()
        self._turn_of_new = False
        return self._new.popleft() if self._new else None

    def take_new(self) -> Cdr | None:
        """Return one that was not deferred, for a probe."""
        return self._new.popleft() if self._new else None

    def done(self, cdr: Cdr) -> None:
        """Take note that a worker has settled it."""
        if cdr.origin is Origin.RETRY:
            self._retrying -= 1

    def take_back(self) -> list[Cdr]:
        """Empty it; return what was in it, the newest first."""
        taken = [*self._retried, *self._new]
        self._retried.clear()
        self._new.clear()
        return taken[::-1]

    async def wait(self) -> None:
        """Wait until there may be something to take."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter.cancelled():
                self._waiting.remove(waiter)

    def wake(self) -> None:
        """Let every worker look again: the gate passes, or a stop was asked for."""
        while self.wake_one():
            pass

    def _may_retry(self) -> bool:
        if not self._new:
            return True
        return not self._turn_of_new if self._alternates else self._retrying < self._share

    def wake_one(self) -> bool:
        """Let a worker look; tell whether one was waiting."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return True
        return False
