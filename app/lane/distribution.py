"""Distribute CDRs to the lanes of several endpoints."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.config.timings import Timings
from app.errors import OperatorRedisError, TransientRedisError
from app.store.exchange import Distributed
from app.store.keys import LaneKeys
from app.store.lease import Lease
from app.store.queue import Queue


@dataclass(frozen=True)
class Taker:
    """Describes a lane as distribution sees it."""

    keys: LaneKeys
    is_passing: Callable[[], bool]
    wants_probe: Callable[[], bool]
    """Whether it is shut and has no new CDR to probe with: it is given one, or good ones would wait for ever."""

    @property
    def mode(self) -> str:
        if self.is_passing():
            return "passing"
        return "probe" if self.wants_probe() else "shut"


class Distribution:
    """Moves CDRs from the source, by way of the short processing list, to the pending list of every lane.

    There is nothing to sweep: whatever stands in that list, however it came there, is distributed next.
    """

    def __init__(
        self, queue: Queue, lease: Lease, takers: Sequence[Taker], timings: Timings, stopping: asyncio.Event
    ) -> None:
        self.heartbeat_at = time.monotonic()
        self._queue, self._lease, self._takers = queue, lease, takers
        self._timings, self._stopping = timings, stopping
        self._channel, self._waiting = queue.channel(), queue.waiting_channel()

    async def run(self) -> None:
        """Go on until a stop is asked for."""
        while not self._stopping.is_set():
            self.heartbeat_at = time.monotonic()
            if self._lease.holds():
                await self._distribute()
            else:
                await self._pause(self._timings.idle_pause)

    async def _distribute(self) -> None:
        timings, lanes = self._timings, [(taker.keys, taker.mode) for taker in self._takers]
        done = await self._queue.distribute(
            self._channel, lanes, timings.distributed, timings.exchange_bytes, timings.most_pending
        )
        if done and not done.given:
            await self._wait_after(done, any(mode == "passing" for _, mode in lanes))

    async def _wait_after(self, done: Distributed, passing: bool) -> None:  # noqa: FBT001 - private
        if done.refusal:
            await self._pause(self._timings.idle_pause)
        elif done.wants_more:
            await self._wait_for_source()
        else:
            await self._pause(self._timings.full_pause if passing else self._timings.first_probe)

    async def _wait_for_source(self) -> None:
        """Claim the next CDR of the source. What a lost reply has claimed is distributed next, as all else."""
        try:
            await self._queue.wait(self._waiting)
        except TransientRedisError:
            await self._pause(random.uniform(self._timings.idle_pause / 2, self._timings.idle_pause))  # noqa: S311 - jitter, not a secret
        except OperatorRedisError:
            await self._pause(self._timings.operator_pause)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
