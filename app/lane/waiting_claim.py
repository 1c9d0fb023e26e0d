"""Wait in Redis for the next CDR while nothing is pending."""

import asyncio
import random

from app.errors import OperatorRedisError, OutOfMemoryError, TransientRedisError
from app.lane.arrivals import Arrivals
from app.lane.lane import Lane
from app.lane.supply import Supply
from app.lane.sweeper import Sweeper
from app.store.exchange import Wanted
from app.telemetry import events


class WaitingClaim:
    """A BLMOVE on a connection of its own, again and again; it is never cancelled."""

    def __init__(self, lane: Lane, supply: Supply, arrivals: Arrivals, sweeper: Sweeper) -> None:
        self._lane, self._supply = lane, supply
        self._arrivals, self._sweeper = arrivals, sweeper
        self._channel = lane.queue.waiting_channel()

    async def run(self) -> None:
        """Go on until a stop is asked for."""
        lane = self._lane
        while not lane.stopping.is_set():
            if self._supply.may_bring_new and self._supply.pending_is_empty:
                pause = await self._claim()
                self._supply.look_again()  # another process may have deferred something
                lane.wake()
                await self._pause(pause)
            else:
                await self._supply.changed.wait(lane.timings.idle_pause)

    async def _claim(self) -> float:
        """Claim one CDR, if one comes in time; return the seconds to pause."""
        lane, body, pause = self._lane, None, 0.0
        with self._supply.reserved(Wanted(new=1)), self._arrivals.announced():
            try:
                body = await lane.queue.wait(self._channel)
            except OutOfMemoryError:
                # Refused to the command, and not to a script, which is what takes over.
                self._supply.pending_is_empty, pause = False, lane.timings.idle_pause
            except TransientRedisError as error:
                pause = lane.timings.idle_pause
                if error.away:
                    events.claim_reply_lost(lane.endpoint)
                    self._sweeper.soon()
            except OperatorRedisError:
                pause = lane.timings.operator_pause
            if body is not None:
                self._supply.pending_is_empty = False
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
