"""Find out whether an endpoint that is down is back."""

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence

from app.cdr import Cdr, Origin
from app.delivery.verdict import GONE, Verdict
from app.lane.incoming import Incoming
from app.lane.lane import Lane
from app.lane.signal import Signal
from app.lane.sweeper import Sweeper
from app.store.exchange import Wanted

Deliver = Callable[[Cdr], Awaitable[Verdict]]
"""Makes one attempt with one CDR, and settles it."""


class Prober:
    """Attempts single CDRs while the breaker is open: a never-attempted one, and if that fails a deferred one.

    Either alone could fail for ever where the other would be accepted.
    """

    def __init__(self, lane: Lane, deliver: Deliver, sweeper: Sweeper, incoming: Incoming) -> None:
        self.wants_new = False
        """Whether it found no CDR that was never attempted: distribution then gives it one.

        Those that have failed may fail for ever, while good ones wait to be distributed.
        """
        self._lane, self._deliver = lane, deliver
        self._sweeper, self._incoming = sweeper, incoming
        self._channel = lane.queue.channel()
        self._signal = Signal()
        self._probed: set[str] = set()
        self._pending = self._deferred = 0

    def wake(self) -> None:
        self._signal.set()

    def holds(self) -> bool:
        """Tell whether the lane has a lease."""
        return self._lane.lease.holds()

    async def run(self) -> None:
        """Go on until a stop is asked for."""
        lane = self._lane
        while not lane.stopping.is_set():
            if wait := self._wait():
                await self._signal.wait(wait)
            else:
                await self._probe()

    def _wait(self) -> float:
        """Return the seconds until a probe may be made; 0: now."""
        breaker, gate = self._lane.gate.breaker, self._lane.gate
        if breaker.is_closed or not self._lane.lease.holds():
            return 1.0
        return max(0.0, breaker.probe_at - time.monotonic(), gate.held_for) or gate.probing.wait(self)

    async def _probe(self) -> None:
        """Attempt up to two CDRs, one after the other."""
        gate = self._lane.gate
        with gate.probing.turn(self):
            new = await self._never_attempted()
            self.wants_new = new is None
            if cdr := new or await self._earliest_deferred(None):
                verdicts = [await self._attempt(cdr)]
                if self._may_go_on and (another := await self._earliest_deferred(cdr)):
                    verdicts.append(await self._attempt(another))
                self._end(verdicts)

    @property
    def _may_go_on(self) -> bool:
        gate = self._lane.gate
        return gate.probing.is_turn_of(self) and not gate.breaker.is_closed

    def _end(self, verdicts: Sequence[Verdict | None]) -> None:
        answered = any(verdict and verdict.is_about_the_cdr for verdict in verdicts)
        # A CDR that is answered 410 alone may be the cause itself.
        gone = all(verdict and verdict.status == GONE for verdict in verdicts)
        # It is there, and refuses these CDRs: so the next one follows soon, until all have had their turn.
        others = self._pending > 0 or len(self._probed) < self._deferred
        if self._may_go_on:
            self._lane.gate.breaker.end_probe(stays=answered and others, gone=gone)

    async def _attempt(self, cdr: Cdr) -> Verdict | None:
        """Attempt it. If a stop or a hold came meanwhile, or it took too long, it is put back into the inbox."""
        lane, probing = self._lane, self._lane.gate.probing
        is_late = not probing.is_turn_of(self)
        if is_late or lane.stopping.is_set() or lane.gate.held_for or not lane.lease.holds():
            lane.inbox.put([cdr])
            lane.wake()
            return None
        if cdr.origin is Origin.PENDING:
            self._probed.clear()
        self._probed.add(cdr.webhook_id)
        with probing.attempt():
            return await self._deliver(cdr)

    async def _never_attempted(self) -> Cdr | None:
        lane = self._lane
        if cdr := lane.inbox.take_new():
            return cdr
        if found := await self._sweeper.find(1):
            return found[0]
        return await self._claim(Wanted(new=1))

    async def _earliest_deferred(self, other_than: Cdr | None) -> Cdr | None:
        """Return the one due next, whether it is due or not, and not the same one again while there is another."""
        sha1 = hashlib.sha1(other_than.body, usedforsecurity=False).hexdigest() if other_than else ""
        return await self._claim(Wanted(deferred=1, early=sha1))

    async def _claim(self, wanted: Wanted) -> Cdr | None:
        lane, sent = self._lane, time.monotonic()
        # It claims though the gate is shut, and a sweep must not put that back.
        async with self._sweeper.held_off():
            if lane.stopping.is_set():
                return None
            with self._incoming.expected():
                done = await lane.queue.exchange(self._channel, [], wanted, lane.visibility)
                if not done.answered:  # a sweep finds a new one; a deferred one comes back when its visibility ends
                    self._sweeper.claim_reply_lost()
                    return None
                self._pending, self._deferred = done.pending, done.deferred
                lane.metrics.claimed += len(done.claimed)
                found = lane.new(done.claimed) or lane.handed_out(done.handed_out, sent + lane.visibility)
        return found[0] if found else None
