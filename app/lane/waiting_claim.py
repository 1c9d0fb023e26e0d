"""Wait in Redis for the next CDR while nothing is pending."""

import asyncio
import random

from app.errors import OperatorRedisError, OutOfMemoryError, TransientRedisError
from app.lane.claimable import Claimable
from app.lane.incoming import Incoming
from app.lane.lane import Lane
from app.lane.sweeper import Sweeper
from app.store.exchange import Wanted


class WaitingClaim:
    """Sends a BLMOVE on a connection of its own, again and again; it is never cancelled."""

    def __init__(self, lane: Lane, claimable: Claimable, incoming: Incoming, sweeper: Sweeper) -> None:
        self._lane, self._claimable = lane, claimable
        self._incoming, self._sweeper = incoming, sweeper
        self._channel = lane.queue.waiting_channel()

    async def run(self) -> None:
        """Go on until a stop is asked for."""
        lane = self._lane
        while not lane.stopping.is_set():
            if self._claimable.may_bring_new and self._claimable.pending_is_empty:
                pause = await self._claim()
                self._claimable.look_again()  # another process may have deferred something
                lane.wake()
                await self._pause(pause)
            else:
                await self._claimable.changed.wait(lane.timings.idle_pause)

    async def _claim(self) -> float:
        """Claim one CDR, if one comes in time; return the seconds to pause."""
        lane, body, pause = self._lane, None, 0.0
        with self._claimable.reserved(Wanted(new=1)), self._incoming.expected():
            try:
                body = await lane.queue.wait(self._channel)
            except OutOfMemoryError:
                # Refused to the command, and not to a script, which is what takes over.
                self._claimable.pending_is_empty, pause = False, lane.timings.idle_pause
            except TransientRedisError as error:
                pause = lane.timings.idle_pause
                if error.away:
                    self._sweeper.claim_reply_lost()
            except OperatorRedisError:
                pause = lane.timings.operator_pause
            if body is not None:
                self._claimable.pending_is_empty = False
                lane.metrics.claimed += 1
                lane.inbox.put(lane.new([body]))
        return random.uniform(pause / 2, pause)  # noqa: S311 - jitter, not a secret

    async def _pause(self, seconds: float) -> None:
        if seconds:
            try:
                async with asyncio.timeout(seconds):
                    await self._lane.stopping.wait()
            except TimeoutError:
                pass
