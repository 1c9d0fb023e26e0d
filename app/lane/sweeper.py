"""Find strays: CDRs in our processing list that are not in flight."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence

from app.cdr import Cdr
from app.lane.arrivals import Arrivals
from app.lane.lane import Lane
from app.lane.signal import Signal
from app.store.budget import Budget
from app.telemetry import events


class Sweeper:
    """Reads the head of our processing list, now and then and when a reply was lost. It pauses nothing.

    `interval`: seconds between two sweeps that find nothing.
    """

    def __init__(self, lane: Lane, arrivals: Arrivals, interval: float) -> None:
        self.is_behind = False
        """Whether the list holds more strays than were taken: nothing new is claimed before they are."""
        self.adopted = 0
        """How many strays to come are those of other processes."""
        self._lane, self._arrivals, self._interval = lane, arrivals, interval
        self._channel = lane.queue.channel()
        self._budget = Budget(lane.timings.exchange_bytes)
        self._signal = Signal()
        self._one_at_a_time = asyncio.Lock()
        self._due_at = 0.0

    @property
    def is_due(self) -> bool:
        return self.is_behind or time.monotonic() >= self._due_at

    def soon(self) -> None:
        """Sweep at once: a claim's reply was lost, an ack found nothing, or CDRs were adopted."""
        self._due_at = 0.0
        self._signal.set()

    def wake(self) -> None:
        """Look whether a sweep is due and may begin: the gate passes, there is room, or a stop was asked for."""
        if self.is_due or self._lane.stopping.is_set():
            self._signal.set()

    async def run(self) -> None:
        """Go on until a stop is asked for."""
        lane = self._lane
        while not lane.stopping.is_set():
            room = min(lane.room.number - lane.in_flight.number, lane.timings.page)
            if self.is_due and lane.claims and room > 0:
                lane.inbox.put(await self.find(room))
                lane.wake()
            else:
                await self._signal.wait(self._until_due())

    async def find(self, wanted: int) -> list[Cdr]:
        """Return up to so many strays; they are in flight from now on."""
        async with self._one_at_a_time:
            self._due_at = math.inf
            with self._lane.in_flight.watched() as known:
                held = known.total()
                page = await self._lane.queue.page(self._channel, held + max(held, wanted), self._budget)
                # What the page shows may have been brought by a claim whose answer is still on its way.
                await self._arrivals.ended()
                strays = _beyond(page, known)
            found = self._lane.strays(strays[:wanted])
            self.is_behind = len(strays) >= wanted
            # Counted from its end: a waiting claim may have kept it for longer than an interval, and nothing is
            # adopted while a sweep is due.
            self._due_at = min(self._due_at, time.monotonic() + self._interval)
            self._count(len(found))
            return found

    def _count(self, found: int) -> None:
        if not found:
            return
        self._due_at = 0.0  # there may be more
        theirs = min(found, self.adopted)
        self.adopted -= theirs
        self._lane.metrics.recovered["orphan"] += theirs
        self._lane.metrics.recovered["own"] += found - theirs
        events.sweep_recovered(self._lane.endpoint, found)

    def _until_due(self) -> float:
        """Return the seconds to wait: a sweep that is due waits for the gate, the lease or room."""
        return max(0.0, min(self._due_at - time.monotonic(), self._interval)) or 1.0


def _beyond(page: Sequence[bytes], known: Counter[bytes]) -> list[bytes]:
    """Return what the page holds more often than is known, oldest first."""
    seen: Counter[bytes] = Counter()
    strays = []
    for body in page:
        seen[body] += 1
        if seen[body] > known[body]:
            strays.append(body)
    return strays
