"""Find strays: CDRs in our processing list that are not in flight."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from app.cdr import Cdr
from app.lane.incoming import Incoming
from app.lane.lane import Lane
from app.lane.signal import Signal
from app.store.budget import Budget
from app.telemetry import events


class Sweeper:
    """Reads the head of our processing list, now and then and when a reply was lost. It pauses nothing.

    `interval`: seconds between two sweeps that find nothing.
    """

    def __init__(self, lane: Lane, incoming: Incoming, interval: float, budget: Budget) -> None:
        self.is_behind = False
        """Whether the list holds more strays than were taken: nothing new is claimed before they are."""
        self.from_others = 0
        """How many of the strays still to be found came from other processes."""
        self._lane, self._incoming, self._interval = lane, incoming, interval
        self._channel = lane.queue.channel()
        self._budget = budget
        self._signal = Signal()
        self._one_at_a_time = asyncio.Lock()
        self._due_at = self._late_since = 0.0

    @property
    def is_due(self) -> bool:
        return self.is_behind or time.monotonic() >= self._due_at

    def claim_reply_lost(self) -> None:
        """Sweep at once: what the claim moved to our processing list is not in flight, so nobody delivers it.

        What the retry set handed out to it comes back when its visibility ends.
        """
        events.claim_reply_lost(self._lane.source, self._lane.endpoint)
        self.soon()

    def soon(self) -> None:
        """Sweep at once: an ack found nothing, or CDRs were adopted."""
        self._due_at = 0.0
        self._signal.set()

    def wake(self) -> None:
        """Look whether a sweep is due and may begin: the gate passes, there is room, or a stop was asked for."""
        if self.is_due or self._lane.stopping.is_set():
            self._signal.set()

    async def run(self) -> None:
        """Go on until a stop is asked for."""
        while not self._lane.stopping.is_set():
            room = min(self._lane.room.limit - self._lane.in_flight.number, self._lane.timings.page)
            may_sweep = self.is_due and self._lane.claims and room > 0
            must_wait = may_sweep and self._must_be_alone
            if must_wait:
                self._claim_no_more_if_late()
            if must_wait or not may_sweep:
                await self._signal.wait(self._until_due())
            elif not (self._budget.is_small and await self._put_back()):
                await self._sweep(room)

    async def _sweep(self, room: int) -> None:
        self._late_since = 0.0
        self._lane.inbox.put(await self.find(room))
        self._lane.wake()

    # On a link that loses most replies, a page would hardly get through. There, all strays are put back to pending
    # by one short command, when nothing else can be in the list; claims then bring them on all channels at once.

    @property
    def _is_alone(self) -> bool:
        """Tell whether all that our processing list may hold are strays."""
        return not (self._lane.in_flight.in_processing or self._incoming)

    @property
    def _must_be_alone(self) -> bool:
        """Tell whether strays must wait until nothing else is in the list."""
        return self._budget.is_small and not self._is_alone

    def _claim_no_more_if_late(self) -> None:
        """Let nothing new be claimed if strays have waited for too long, or if nothing else goes on."""
        now = time.monotonic()
        self._late_since = self._late_since or now
        if not self._lane.in_flight.in_processing or now - self._late_since >= self._lane.timings.strays_wait:
            self.is_behind = True

    async def _put_back(self) -> bool:
        """Put all strays back to pending, unseen; tell whether Redis allows it."""
        timings = self._lane.timings
        async with self._one_at_a_time:
            if not self._is_alone:
                return True
            # Nothing is claimed before it is answered: what a claim brings must not be put back.
            self._late_since, self._due_at, self.is_behind = 0.0, math.inf, True
            moved = await self._lane.queue.put_back(self._channel, timings.put_back, timings.exchange_bytes)
            self.is_behind = bool(moved)
            self._due_at = min(self._due_at, time.monotonic() + self._interval)
            self._count(moved or 0)
        self._lane.wake()
        return moved is not None

    @asynccontextmanager
    async def held_off(self) -> AsyncIterator[None]:
        """Let it move nothing meanwhile: the prober claims although the gate is shut."""
        async with self._one_at_a_time:
            yield

    async def find(self, wanted: int) -> list[Cdr]:
        """Return up to so many strays; they are in flight from now on."""
        async with self._one_at_a_time:
            self._due_at = math.inf
            with self._lane.in_flight.watched() as known:
                held = known.total()
                page = await self._lane.queue.page(self._channel, held + max(held, wanted), self._budget)
                # What the page shows may have been brought by a claim whose answer is still on its way.
                await self._incoming.ended()
                # After a stop the claimer may have ended: nobody would give back what comes into flight now.
                strays = [] if self._lane.stopping.is_set() else _beyond(page, known)
            found = self._lane.strays(strays[:wanted])
            self.is_behind = len(strays) >= wanted
            # The interval begins when this sweep ends: waiting for a claim may have taken longer, and while a sweep is
            # due nothing is adopted.
            self._due_at = min(self._due_at, time.monotonic() + self._interval)
            self._count(len(found))
            return found

    def _count(self, found: int) -> None:
        if not found:
            return
        self._due_at = 0.0  # there may be more
        theirs = min(found, self.from_others)
        self.from_others -= theirs
        self._lane.metrics.recovered["orphan"] += theirs
        self._lane.metrics.recovered["own"] += found - theirs
        events.sweep_recovered(self._lane.source, self._lane.endpoint, found)

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
