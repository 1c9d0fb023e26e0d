"""Collect what is to be settled in Redis."""

import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from app.cdr import Cdr
from app.config.timings import Timings
from app.store.exchange import Settlement

Receipt = Callable[[Cdr, bool], None]
"""Is called when Redis has settled a CDR, with whether it was still there."""


@dataclass(eq=False, slots=True)
class Parcel:
    """Holds a CDR with its settlement, and whom to call then."""

    cdr: Cdr
    settlement: Settlement
    done: Receipt
    tries: int = 0


class Outbox:
    """Holds settlements on their way to Redis, in two queues: what workers settle, and what is given back.

    What is given back goes in one exchange at a time, so that it arrives in order. What Redis refuses is put aside and
    tried again, with pauses that grow: it stays in flight, and never becomes a stray that is posted again.
    """

    def __init__(self, timings: Timings) -> None:
        self._ready: deque[Parcel] = deque()
        self._returned: deque[Parcel] = deque()
        self._refused: list[tuple[float, int, Parcel]] = []
        self._order = count()
        self._pause = wait_random_exponential(timings.shortest_pause * 10, timings.operator_pause)

    def put(self, parcel: Parcel) -> None:
        self._ready.append(parcel)

    def give_back(self, parcels: Iterable[Parcel]) -> None:
        """Put what is given back to pending, the newest first."""
        self._returned.extend(parcels)

    def refuse(self, parcel: Parcel) -> None:
        """Put one aside that Redis has refused."""
        parcel.tries += 1
        state = RetryCallState(AsyncRetrying(), None, (), {})
        state.attempt_number = parcel.tries
        heapq.heappush(self._refused, (time.monotonic() + self._pause(state), next(self._order), parcel))

    def is_worth_waking(self, every: int) -> bool:
        """Tell whether to wake the claimer: at the first settlement, and at each `every`-th.

        At the first, it lets more gather for a moment.
        """
        ready = len(self._ready)
        return ready == 1 or ready % every == 0

    @property
    def ready(self) -> int:
        """Return how many could be sent now, but for what is given back."""
        self._take_up_refused()
        return len(self._ready)

    @property
    def returned(self) -> int:
        return len(self._returned)

    @property
    def next_try_at(self) -> float:
        """Return when the first of those that were refused is tried again, on the monotonic clock."""
        return self._refused[0][0] if self._refused else math.inf

    def __len__(self) -> int:
        return len(self._ready) + len(self._returned) + len(self._refused)

    def take(self, most: int, most_bytes: int) -> list[Parcel]:
        return _taken(self._ready, most, most_bytes)

    def take_returned(self, most: int, most_bytes: int) -> list[Parcel]:
        return _taken(self._returned, most, most_bytes)

    def _take_up_refused(self) -> None:
        while self._refused and self._refused[0][0] <= time.monotonic():
            self._ready.append(heapq.heappop(self._refused)[2])


def _taken(queue: deque[Parcel], most: int, most_bytes: int) -> list[Parcel]:
    """Return the first ones; at least one where there is one, however large."""
    taken: list[Parcel] = []
    size = 0
    while queue and len(taken) < most:
        size += queue[0].settlement.weight
        if taken and size > most_bytes:
            break
        taken.append(queue.popleft())
    return taken
