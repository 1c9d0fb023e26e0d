"""Know how much the next exchange may claim: what there is in pending and the retry set, and room for it."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.lane.lane import Lane
from app.lane.signal import Signal
from app.lane.sweeper import Sweeper
from app.store.budget import Budget
from app.store.exchange import Exchanged, Wanted

NOTHING = Wanted()


class Claimable:
    """Holds what is known of pending and of the retry set from the last answers, and the room that is left."""

    def __init__(self, lane: Lane, sweeper: Sweeper, budget: Budget) -> None:
        self.changed = Signal()
        """For whoever waits until nothing is pending."""
        self.pending_is_empty = False
        self.due_at = 0.0
        """When a deferred CDR is due, on the monotonic clock."""
        self.refused_until = 0.0
        self._lane, self._sweeper, self._budget = lane, sweeper, budget
        self._reserved = Wanted(most_bytes=0)
        self._times_empty = 0

    @property
    def may_bring_new(self) -> bool:
        """Tell whether new CDRs may be claimed. Strays come first: they are the oldest."""
        return self._lane.claims and not self._sweeper.is_behind and self.free > 0

    @property
    def free(self) -> int:
        """Return how many more CDRs may be in flight."""
        reserved = self._reserved.new + self._reserved.deferred
        return self._lane.room.limit - self._lane.in_flight.number - reserved

    @property
    def is_short(self) -> bool:
        """Tell whether workers wait for what is on its way, and nothing more may be claimed."""
        on_its_way = self._reserved.new > 0 and not self.pending_is_empty
        return on_its_way and self.free <= 0 and not self._lane.inbox and self._lane.claims

    @property
    def worthwhile(self) -> int:
        """Return how many CDRs are worth a round trip at once."""
        return max(1, min(self._lane.timings.worth_a_round_trip, self._lane.room.limit // 4))

    def wanted(self, settled: int) -> Wanted:
        """Return how much an exchange may claim that settles so many."""
        lane, now = self._lane, time.monotonic()
        room, most = self.free + settled, lane.timings.exchange_cdrs
        free_bytes = lane.timings.in_flight_bytes - lane.in_flight.size - self._reserved.most_bytes
        full = free_bytes <= 0 and lane.in_flight.number > 0  # a CDR larger than all is claimed alone
        if not lane.claims or room <= 0 or full or now < self.refused_until:
            return NOTHING
        # Those that failed before fill half of the room at most, so that new ones always find some.
        deferred = min(room, most, self._lane.room.limit // 2 - lane.in_flight.in_hand) if now >= self.due_at else 0
        new = 0 if self.pending_is_empty or self._sweeper.is_behind else min(room, most)
        if deferred <= 0 and new <= 0:
            return NOTHING
        return Wanted(new, max(0, deferred), max(1, min(self._budget.bytes, free_bytes)))

    @contextmanager
    def reserved(self, wanted: Wanted) -> Iterator[None]:
        """Set room aside for what a claim on the wire may bring."""
        self._reserve(wanted, 1)
        if wanted.deferred:
            self.due_at = math.inf  # asked for; the answer says when to ask again
        try:
            yield
        finally:
            self._reserve(wanted, -1)

    def note(self, wanted: Wanted, done: Exchanged) -> None:
        """Learn from an answer."""
        now = time.monotonic()
        if done.next_due is not None:
            self.due_at = min(self.due_at, now + done.next_due)
        if done.refused:
            self.refused_until = now + self._lane.timings.longest_pause
            # The waiting claim is another command, which may be allowed where this one is not.
            self.pending_is_empty = True
            self.changed.set()
        elif wanted.new:
            self.pending_is_empty = len(done.claimed) < wanted.new and done.size < wanted.most_bytes
            self._adapt()
            if self.pending_is_empty:
                self.changed.set()

    def look_again(self) -> None:
        """Ask for deferred CDRs again: another process may have deferred some, or an answer was lost."""
        self.due_at = 0.0

    def _adapt(self) -> None:
        """Claim further ahead where workers found nothing to do though more was pending."""
        starved, self._times_empty = self._lane.inbox.times_empty > self._times_empty, self._lane.inbox.times_empty
        if starved and not self.pending_is_empty:
            self._lane.room.grow()
        else:
            self._lane.room.shrink_in_time()

    def _reserve(self, wanted: Wanted, sign: int) -> None:
        held, size = self._reserved, wanted.most_bytes if wanted.new or wanted.deferred else 0
        self._reserved = Wanted(
            held.new + sign * wanted.new, held.deferred + sign * wanted.deferred, held.most_bytes + sign * size
        )
