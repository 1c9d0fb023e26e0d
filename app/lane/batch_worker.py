"""Take batches from the inbox and attempt them, one at a time."""

import time
from collections.abc import Sequence

from app.cdr import Cdr
from app.delivery.attempt import Attempt
from app.delivery.verdict import Verdict
from app.lane.batch_inbox import BatchInbox
from app.lane.batch_settler import BatchSettler
from app.lane.lane import Lane


class BatchWorker:
    """Runs one of `CONCURRENCY` loops of a lane whose endpoint takes batches: each attempt carries one."""

    def __init__(self, lane: Lane, inbox: BatchInbox, attempt: Attempt, settler: BatchSettler) -> None:
        self._lane, self._inbox = lane, inbox
        self._attempt, self._settler = attempt, settler

    async def run(self) -> None:
        """Go on until a stop is asked for. Nothing happens between waiting and taking: no CDR waits in its hands."""
        while not self._lane.stopping.is_set():
            if cdrs := self._take():
                try:
                    await self._deliver(cdrs)
                finally:
                    self._inbox.done(cdrs[0])
                    self._lane.turn.release()
            else:
                await self._inbox.wait()

    async def deliver(self, cdr: Cdr) -> Verdict:
        """Make one attempt with one CDR, and settle it."""
        return await self._deliver([cdr])

    async def _deliver(self, cdrs: Sequence[Cdr]) -> Verdict:
        message = self._inbox.form.message(cdrs)
        began, began_ms = time.monotonic(), self._lane.clock.now()
        verdict = await self._attempt.post(message)
        self._settler.settle(cdrs, message, verdict, began, began_ms)
        return verdict

    def _take(self) -> list[Cdr]:
        lane, inbox = self._lane, self._inbox
        if not inbox.is_ready:
            inbox.times_empty += 1
            lane.turn.pass_on()
            return []
        if not lane.lease.holds():
            lane.turn.pass_on()
            return []
        if not lane.turn.admits():
            return []
        while batch := inbox.take_batch():
            if ours := self._visible(batch):
                return ours
            inbox.done(batch[0])
        lane.turn.release()
        return []

    def _visible(self, batch: list[Cdr]) -> list[Cdr]:
        """Return those that no other process may be handed during the attempt, and forget the others."""
        ends = time.monotonic() + self._lane.timeout
        ours = [cdr for cdr in batch if ends <= cdr.visible_until]
        for cdr in batch:
            if ends > cdr.visible_until:
                self._lane.forget(cdr)
        return ours
