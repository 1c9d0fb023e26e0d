"""Take CDRs from the inbox and attempt them, one at a time."""

import time

from app.cdr import Cdr
from app.delivery.attempt import Attempt
from app.delivery.message import Message
from app.delivery.verdict import Verdict
from app.lane.lane import Lane
from app.lane.settler import Settler


class Worker:
    """Runs one of `CONCURRENCY` loops of a lane: wait for gate and inbox → take → POST → settle."""

    def __init__(self, lane: Lane, attempt: Attempt, settler: Settler) -> None:
        self._source = lane.source
        self._lane, self._attempt, self._settler = lane, attempt, settler

    async def run(self) -> None:
        """Go on until a stop is asked for. Nothing happens between waiting and taking: no CDR waits in its hands."""
        lane = self._lane
        while not lane.stopping.is_set():
            if cdr := self._take():
                try:
                    await self.deliver(cdr)
                finally:
                    lane.inbox.done(cdr)
                    lane.turn.release()
            else:
                await lane.inbox.wait()

    async def deliver(self, cdr: Cdr) -> Verdict:
        """Make one attempt, and settle it."""
        began, began_ms = time.monotonic(), self._lane.clock.now()
        verdict = await self._attempt.post(Message(cdr.webhook_id, cdr.body, cdr.history.attempts + 1, self._source))
        self._settler.settle(cdr, verdict, began, began_ms)
        return verdict

    def _take(self) -> Cdr | None:
        lane = self._lane
        if not lane.inbox:
            lane.inbox.times_empty += 1
            lane.turn.pass_on()
            return None
        if not lane.lease.holds():
            lane.turn.pass_on()
            return None
        if not lane.turn.admits():
            return None
        while (cdr := lane.inbox.take()) and time.monotonic() + lane.timeout > cdr.visible_until:
            # Another process may be handed it during the attempt.
            lane.inbox.done(cdr)
            lane.forget(cdr)
        if not cdr:
            lane.turn.release()
        return cdr
