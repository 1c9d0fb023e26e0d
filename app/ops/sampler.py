"""Look at the keys of each lane now and then, and remember the last hour."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

from app.store.client import Link
from app.store.keys import LaneKeys
from app.telemetry.metrics import LaneMetrics, quantile

MINUTE: Final = 60.0
MINUTES: Final = 60


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many there are: pending, in our processing list, dead, in the retry set, and handed out by it."""

    pending: int = 0
    processing: int = 0
    dead: int = 0
    retry: int = 0
    retrying: int = 0

    @property
    def waiting(self) -> int:
        """CDRs that are in Redis for the endpoint, but for dead letters."""
        return self.pending + self.processing + self.retry + self.retrying


@dataclass(frozen=True, slots=True)
class Minute:
    """What a lane did in a minute that ended at `at` (Unix seconds). Quantiles of claim to ack, in seconds."""

    at: float
    delivered: int
    p50: float | None
    p99: float | None


@dataclass(eq=False)
class Sample:
    """The lists of one lane as they were last seen, and the last hour."""

    keys: LaneKeys
    oldest: Literal["head", "tail"]
    metrics: LaneMetrics
    lengths: Lengths = Lengths()
    hour: deque[Minute] = field(default_factory=lambda: deque(maxlen=MINUTES))

    def __post_init__(self) -> None:
        self._head = ""
        self._head_since = time.monotonic()
        self._minute_began = time.monotonic()
        self._delivered = 0
        self._counts = list(self.metrics.delivery_durations.counts)

    @property
    def head_age(self) -> float:
        """Seconds for which the oldest pending CDR has been the same one; 0 where none is pending."""
        return time.monotonic() - self._head_since if self._head else 0.0

    def note(self, lengths: Lengths, head: str) -> None:
        if head != self._head:
            self._head, self._head_since = head, time.monotonic()
        self.lengths = lengths
        if time.monotonic() - self._minute_began >= MINUTE:
            self._end_minute()

    def _end_minute(self) -> None:
        counts, delivered = list(self.metrics.delivery_durations.counts), self.metrics.delivered
        fresh = [now - before for now, before in zip(counts, self._counts, strict=True)]
        self.hour.append(Minute(time.time(), delivered - self._delivered, quantile(fresh, 0.5), quantile(fresh, 0.99)))
        self._minute_began, self._delivered, self._counts = time.monotonic(), delivered, counts


class Sampler:
    """Looks at the lists of every lane, in one round trip each: nobody who asks costs Redis anything."""

    def __init__(self, link: Link, samples: dict[str, Sample]) -> None:
        self.samples = samples
        self._link = link
        self._script = link.script("sample")

    async def run(self, slot: int) -> None:
        """Go on until cancelled. `slot`: the number of ours."""
        while True:
            for sample in self.samples.values():
                await self._look(sample, sample.keys.slot(slot).processing)
            await asyncio.sleep(self._link.timings.sample)

    async def _look(self, sample: Sample, processing: str) -> None:
        lane = sample.keys
        keys = [lane.pending, processing, lane.dead, lane.retry, lane.retrying]
        index = {"head": 0, "tail": -1}[sample.oldest]
        reply: Any = await self._link.persist("sample", partial(self._script, keys=keys, args=[index]))
        *lengths, head = reply
        sample.note(Lengths(*lengths), head.decode())
