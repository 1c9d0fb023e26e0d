"""When CDRs are distributed to the lanes of several endpoints."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from app.errors import OperatorRedisError, TransientRedisError
from app.lane.adoption import Adoption
from app.store.client import OPERATOR_PAUSE
from app.store.lease import Ownership
from app.store.queue import Queue
from app.telemetry.metrics import LaneMetrics

MOST_PENDING: Final = 1000
"""In a lane that takes CDRs: a long backlog waits once, in the source, and not once for each endpoint."""

PAGE: Final = 250
MOST_BYTES: Final = 1024 * 1024
"""At once: Redis does nothing else meanwhile."""

FULL_PAUSE: Final = 0.02
CLOSED_PAUSE: Final = 1.0
PAUSE: Final = 0.5


@dataclass(eq=False)
class Fanout:
    """A lane whose settle is *distribute*: from the source, by way of the short processing list, to every lane.

    There is nothing to sweep: whatever stands in that list, however it came there, is distributed next.
    """

    queue: Queue
    ownership: Ownership
    adoption: Adoption
    metrics: LaneMetrics
    lanes: Mapping[str, Callable[[], bool]]
    """The pending list of each lane, and whether that lane takes CDRs just now."""
    stopping: asyncio.Event

    def __post_init__(self) -> None:
        self.stamped_at = time.monotonic()

    async def run(self) -> None:
        while not self.stopping.is_set():
            self.stamped_at = time.monotonic()
            if not self.ownership.holds():
                await self._pause(PAUSE)
            elif self.adoption.due:
                self.metrics.recovered["orphan"] += await self.adoption.look()
            else:
                await self._distribute()

    async def _distribute(self) -> None:
        takes = [lane() for lane in self.lanes.values()]
        done = await self.queue.distribute(list(self.lanes), takes, PAGE, MOST_BYTES, MOST_PENDING)
        if done is None:
            return
        if done.refusal:
            await self._pause(PAUSE)
        elif done.given:
            return
        elif done.wants_more:
            await self._wait()
        else:
            await self._pause(FULL_PAUSE if any(takes) else CLOSED_PAUSE)

    async def _wait(self) -> None:
        """Wait for the source. What a lost reply has claimed is distributed next, as all else."""
        try:
            await self.queue.wait()
        except TransientRedisError:
            await self._pause(random.uniform(PAUSE / 2, PAUSE))  # noqa: S311 - jitter, not a secret
        except OperatorRedisError:
            await self._pause(OPERATOR_PAUSE)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
