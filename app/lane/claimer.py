"""Run exchanges with Redis: they settle what workers hand over, and fill the inbox."""

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from app.cdr import Origin
from app.lane import settlements
from app.lane.claimable import NOTHING, Claimable
from app.lane.incoming import Incoming
from app.lane.lane import Lane
from app.lane.outbox import Parcel
from app.lane.signal import Signal
from app.lane.sweeper import Sweeper
from app.store.budget import Budget
from app.store.channel import Channel
from app.store.exchange import Exchanged, Wanted


@dataclass(frozen=True, slots=True)
class Plan:
    """Says what one exchange settles and may claim. `returned`: whether it gives back what was claimed."""

    parcels: Sequence[Parcel]
    wanted: Wanted = NOTHING
    returned: bool = False


class Claimer:
    """Plans exchanges and runs each as a task of its own, on up to `Timings.channels` channels."""

    def __init__(self, lane: Lane, claimable: Claimable, incoming: Incoming, sweeper: Sweeper, budget: Budget) -> None:
        self.heartbeat_at = time.monotonic()
        self._lane, self._claimable, self._incoming = lane, claimable, incoming
        self._sweeper, self._budget = sweeper, budget
        self._signal = Signal()
        self._free: list[Channel] = []
        self._opened = 0
        self._gives_back = False
        self._exchanged_at = 0.0
        self._usual_size = self._lane.timings.exchange_bytes

    def wake(self) -> None:
        self._signal.set()

    async def run(self) -> None:
        """Go on until a stop is asked for and nothing is in flight."""
        async with asyncio.TaskGroup() as tasks:
            while not self._is_done:
                self.heartbeat_at = time.monotonic()
                if self._lane.gives_back:
                    self._give_back()
                self._claim_beside_late_ones()
                while self._has_channel and (plan := self._plan()):
                    stack = ExitStack()
                    self._begin(plan, stack)
                    tasks.create_task(self._exchange(self._channel(), plan, stack))
                await self._signal.wait(self._until_due())

    def _claim_beside_late_ones(self) -> None:
        """Make room for more claims if those on the wire are late and workers have nothing to do."""
        if self._claimable.is_short and time.monotonic() - self._exchanged_at >= self._lane.timings.late:
            self._lane.room.grow()

    @property
    def _is_done(self) -> bool:
        idle = len(self._free) == self._opened and not self._incoming
        return self._lane.stopping.is_set() and idle and not self._lane.in_flight.number

    @property
    def _has_channel(self) -> bool:
        return bool(self._free) or self._opened < self._lane.timings.channels

    def _channel(self) -> Channel:
        """Return the channel that was used last: in calm, two do all the work."""
        if self._free:
            return self._free.pop()
        self._opened += 1
        return self._lane.queue.channel()

    def _plan(self) -> Plan | None:
        """Return what is worth a round trip now, if anything: many CDRs, or fewer where the last was a while ago."""
        outbox, timings = self._lane.outbox, self._lane.timings
        if outbox.returned and not self._gives_back and not self._incoming:
            # One at a time: two that overtake each other would change the order.
            return Plan(outbox.take_returned(timings.exchange_cdrs, self._budget.bytes), returned=True)
        settled = min(outbox.ready, timings.exchange_cdrs)
        wanted = self._claimable.wanted(settled)
        number = max(settled, wanted.new, wanted.deferred)
        ripe = time.monotonic() - self._exchanged_at >= timings.ripening
        if not number or not (ripe or number >= self._claimable.worthwhile):
            return None
        self._exchanged_at = time.monotonic()
        return Plan(outbox.take(timings.exchange_cdrs, self._budget.bytes), wanted)

    def _begin(self, plan: Plan, stack: ExitStack) -> None:
        """Reserve room for what it may bring, before anything else is planned."""
        stack.enter_context(self._claimable.reserved(plan.wanted))
        if plan.wanted.brings:
            stack.enter_context(self._incoming.expected())
        self._gives_back = self._gives_back or plan.returned

    async def _exchange(self, channel: Channel, plan: Plan, stack: ExitStack) -> None:
        lane, wanted, sent = self._lane, plan.wanted, time.monotonic()
        with stack:
            leaving = [parcel.settlement for parcel in plan.parcels]
            done = await lane.queue.exchange(channel, leaving, wanted, lane.visibility)
            self._free.append(channel)
            self._gives_back = self._gives_back and not plan.returned
            self._learn(plan, done, sent)
            self._settled(plan.parcels, done.results)
            if done.answered:
                self._claimable.note(wanted, done)
                lane.metrics.claimed += len(done.claimed)
                lane.inbox.put(lane.handed_out(done.handed_out, sent + lane.visibility))
                lane.inbox.put(lane.new(done.claimed))
            elif wanted.brings:
                # Redis has applied it, but we do not know what it brought. A sweep finds the claimed CDRs; those handed
                # out come back when their visibility ends.
                self._claimable.look_again()
                self._sweeper.claim_reply_lost()
        self._signal.set()
        self._sweeper.wake()

    def _learn(self, plan: Plan, done: Exchanged, sent: float) -> None:
        there = sum(parcel.settlement.weight for parcel in plan.parcels)
        wanted, back = plan.wanted, done.size
        if done.sent_again:
            asked = min(wanted.most_bytes, (wanted.new + wanted.deferred) * self._usual_size)
            self._budget.lost(max(there, asked))
            return
        if number := len(done.claimed) + len(done.handed_out):
            self._usual_size = back // number + 1
        self._budget.answered(max(there, back), sent)

    def _settled(self, parcels: Sequence[Parcel], results: Sequence[bool | str]) -> None:
        for parcel, result in zip(parcels, results, strict=True):
            if isinstance(result, str):
                self._lane.outbox.refuse(parcel)  # still in flight: as a stray, it would be posted again
            else:
                self._lane.in_flight.remove(parcel.cdr)
                parcel.done(parcel.cdr, result)

    def _give_back(self) -> None:
        """Give back what was claimed and not attempted. Strays stay in processing, for a sweep to find."""
        if self._incoming:
            return  # what is on its way is newer, and is given back before
        lane, taken = self._lane, self._lane.inbox.take_back()
        for cdr in taken:
            if cdr.origin is Origin.STRAY:
                lane.forget(cdr)
        claimed = [cdr for cdr in taken if cdr.origin is not Origin.STRAY]
        lane.outbox.give_back(Parcel(cdr, settlements.give_back(cdr), _given_back) for cdr in claimed)
        if claimed:
            self._claimable.pending_is_empty = False
            self._claimable.look_again()

    def _until_due(self) -> float:
        """Return the seconds after which there may be something to do even if nothing happens."""
        now, claimable, outbox = time.monotonic(), self._claimable, self._lane.outbox
        if claimable.is_short:
            return self._lane.timings.late
        if outbox.ready or (claimable.may_bring_new and not claimable.pending_is_empty):
            return self._lane.timings.ripening
        ahead = (claimable.due_at, claimable.refused_until, outbox.next_try_at, now + 1.0)
        return min((due for due in ahead if now < due < math.inf), default=1.0) - now


def _given_back(_cdr: object, _found: bool) -> None:  # noqa: FBT001 - as every receipt
    """Do nothing: whoever claims it next counts it."""
