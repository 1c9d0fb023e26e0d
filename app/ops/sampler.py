"""Look at the keys of each lane every few seconds, and tell Redis what happened in each minute."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from app.errors import ForwarderError
from app.store.client import Link
from app.store.clock import RedisClock
from app.store.ends import ENDS
from app.store.keys import LaneKeys
from app.store.minutes import A_DAY, Minute, Minutes
from app.store.optional import optional
from app.store.preflight import info
from app.telemetry.metrics import LaneMetrics

MINUTE_MS: Final = 60_000

FAREWELL: Final = 0.5
"""Seconds that writing the last minute may take at a stop."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Counts CDRs: pending, in our processing list, dead, in the retry set, and handed out by it."""

    pending: int = 0
    processing: int = 0
    dead: int = 0
    retry: int = 0
    retrying: int = 0

    @property
    def deferred(self) -> int:
        return self.retry + self.retrying

    @property
    def waiting(self) -> int:
        """Return how many CDRs are in Redis for the endpoint, without dead letters."""
        return self.pending + self.processing + self.deferred


@dataclass(eq=False)
class Sample:
    """Holds the lengths of one lane's lists as they were last seen, and what Redis is to be told of its minutes."""

    keys: LaneKeys
    oldest: Literal["head", "tail"]
    metrics: LaneMetrics
    lengths: Lengths = Lengths()
    unsent: deque[Minute] = field(default_factory=lambda: deque(maxlen=A_DAY))
    """Minutes, and parts of them, that Redis has not taken yet, the oldest first."""
    written: int = 0
    """How many were written down: the sequence number of the last one."""

    def __post_init__(self) -> None:
        self._head = ""
        self._head_since = time.monotonic()
        self._minute = 0
        self._counted = (0, 0, 0)

    @property
    def head_age(self) -> float:
        """Return for how many seconds the oldest pending CDR has been the same one; 0 if none is pending."""
        return time.monotonic() - self._head_since if self._head else 0.0

    def note(self, lengths: Lengths, head: str) -> None:
        if head != self._head:
            self._head, self._head_since = head, time.monotonic()
        self.lengths = lengths

    def begin(self, minute: int) -> None:
        """Take note of which minute it is; what was counted before belongs to the one before."""
        if self._minute not in (0, minute):
            self.write()
        self._minute = minute

    def write_part(self) -> None:
        """Write down what was counted in a minute that still runs, so that nobody sees it a minute late.

        Not while Redis takes nothing: parts would push minutes of the day out.
        """
        if not self.unsent and self._counts() != self._counted:
            self.write()

    def write(self) -> None:
        """Write down what was counted since the last time."""
        delivered, failed, backlog = self._counts()
        before_delivered, before_failed, _ = self._counted
        self.unsent.append(Minute(self._minute, delivered - before_delivered, failed - before_failed, backlog))
        self.written += 1
        self._counted = delivered, failed, backlog

    def _counts(self) -> tuple[int, int, int]:
        return self.metrics.delivered, self.metrics.failed, self.lengths.pending + self.lengths.deferred


class Sampler:
    """Looks at the lists of every lane, in one round trip each: nobody who asks costs Redis anything."""

    def __init__(self, link: Link, samples: dict[str, Sample]) -> None:
        self.samples = samples
        self.memory_used_ratio: float | None = None
        """Of the memory that Redis may use, or else that its host has; None where Redis does not say."""
        self._link = link
        self._script = link.script("sample")
        self._minutes = Minutes(link)
        self._clock = RedisClock()

    def waiting_for(self, endpoint: str) -> int:
        """Return how many CDRs of this source were last seen waiting for an endpoint."""
        return self.samples[endpoint].lengths.waiting if endpoint in self.samples else 0

    async def run(self, slot: int) -> None:
        """Go on until cancelled. `slot`: the number of ours."""
        try:
            while True:
                for sample in self.samples.values():
                    await self._look(sample, slot)
                    await self._send(sample, slot)
                await self._measure()
                await asyncio.sleep(self._link.timings.sample)
        finally:
            await self._say_farewell(slot)

    async def _look(self, sample: Sample, slot: int) -> None:
        lane, sent = sample.keys, time.monotonic()
        keys = [lane.pending, lane.slot(slot).processing, lane.dead, lane.retry, lane.retrying]
        # The oldest pending CDR: how long it stays the same one tells whether deliveries go on.
        index = [ENDS[sample.oldest].index]
        with suppress(ForwarderError):  # told by the link; minutes go on while Redis is away
            reply: Any = await self._link.call("sample", lambda: self._script(keys=keys, args=index))
            *lengths, head, now, _ = reply
            self._clock.note(sent, time.monotonic(), now)
            sample.note(Lengths(*lengths), head.decode())
        sample.begin(self._clock.now() // MINUTE_MS)
        sample.write_part()

    async def _send(self, sample: Sample, slot: int) -> None:
        """Add minutes to what Redis has; those that it does not take wait."""
        minutes = list(sample.unsent)
        first = sample.written - len(minutes) + 1
        if minutes and await self._minutes.add(sample.keys, sample.keys.slot(slot), first, minutes):
            # Only now: a minute whose reply was lost is sent again, and added once.
            for _ in minutes:
                sample.unsent.popleft()

    async def _measure(self) -> None:
        self.memory_used_ratio = used_ratio(await optional(lambda: info(self._link, "memory")) or {})

    async def _say_farewell(self, slot: int) -> None:
        """Write what was counted in a minute that does not end for us."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                for sample in self.samples.values():
                    sample.write()
                    await self._send(sample, slot)


def used_ratio(said: Mapping[str, Any]) -> float | None:
    """Return how much of its memory Redis uses, by its INFO."""
    used, most = said.get("used_memory"), said.get("maxmemory") or said.get("total_system_memory")
    return used / most if isinstance(used, int) and isinstance(most, int) and most > 0 else None
