"""Remember what all processes together have in Redis, for those who look at the page."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Final

from app.config.settings import Settings
from app.errors import ForwarderError
from app.ops.report import Report
from app.ops.status import LaneStatus, Process
from app.ops.survey import Survey
from app.store.client import Link
from app.store.keys import Topology
from app.store.minutes import A_DAY, Minute, read_history
from app.store.optional import ask_once

SLOPE: Final = 5
"""Minutes whose backlogs tell how fast it shrinks."""


@dataclass(frozen=True)
class Seen:
    """Holds what was seen at one look. `at`: on the monotonic clock."""

    owners: Sequence[Process] = ()
    lanes: Sequence[LaneStatus] = ()
    at: float = -math.inf

    @property
    def age(self) -> float:
        """Return the seconds since the look; infinite where there was none."""
        return time.monotonic() - self.at


@dataclass
class Overview:
    """Looks into the Redis of one source only while somebody asks, and seldom, however many ask how often.

    `own`: what this process says of itself.
    """

    link: Link
    settings: Settings
    own: Callable[[], Report]
    _seen: Seen = Seen()
    _days: dict[str, dict[int, Minute]] = field(default_factory=dict)
    _day_read_at: float = -math.inf
    _looked_at: float = -math.inf
    _looking: asyncio.Task[None] | None = None

    async def look(self) -> Seen:
        """Return what is there now, or else what was seen last: nobody waits long for a Redis that does not answer."""
        timings, now = self.link.timings, time.monotonic()
        if (self._looking is None or self._looking.done()) and now - self._looked_at >= timings.overview:
            self._looked_at, self._looking = now, asyncio.create_task(self._look())
        if self._looking:
            await asyncio.wait({self._looking}, timeout=timings.overview_wait)
        return self._seen

    async def aclose(self) -> None:
        if self._looking:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    def minutes(self, lane: str, number: int = A_DAY) -> list[Minute]:
        """Return the last minutes of a lane that Redis knows, the oldest first, as they were seen."""
        first = _now() - number
        return [minute for _, minute in sorted(self._days.get(lane, {}).items()) if minute.minute > first]

    def delivered_since(self, lane: str, minute: int) -> int:
        return sum(one.delivered for one in self.minutes(lane) if one.minute >= minute)

    async def _look(self) -> None:
        with suppress(TimeoutError, ForwarderError):
            async with asyncio.timeout(self.link.timings.answer_wait):
                await self._survey()

    async def _survey(self) -> None:
        survey = Survey(self.link, self.settings, ask_once, self.own)
        owners = await survey.owners()
        lanes = await survey.lanes(owners)
        # A day is long. Late minutes of processes that could not reach Redis are seen a minute later.
        if time.monotonic() - self._day_read_at >= self.link.timings.look:
            self._days = {name: await self._day(name) for name in Topology(self.link.source).lanes}
            self._day_read_at = time.monotonic()
        for lane in lanes:
            self._days[lane.endpoint] |= {minute.minute: minute for minute in lane.minutes}
        self._seen = Seen(owners, lanes, time.monotonic())

    async def _day(self, lane: str) -> dict[int, Minute]:
        keys, script = [Topology(self.link.source).lane(lane).minutes], self.link.script("history")
        reply = await ask_once(self.link, "history", lambda: script(keys=keys, args=[A_DAY]))
        return {minute.minute: minute for minute in read_history(reply)}


def seconds_to_drain(minutes: Sequence[Minute], waiting: int) -> float | None:
    """Return when nothing will wait, at the pace of the last minutes; None where the backlog does not shrink."""
    last = [minute for minute in minutes if minute.minute > _now() - SLOPE]
    if len(last) < 2 or not waiting:  # noqa: PLR2004 - two points make a slope
        return None
    pace = (last[0].backlog - waiting) / (last[-1].minute - last[0].minute) / 60
    return waiting / pace if pace > 0 else None


def midnight(zone: tzinfo) -> int:
    """Return the minute, numbered from the epoch, in which today began."""
    today = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(today.timestamp() // 60)


def parts(source: str, minutes: Mapping[str, Sequence[Minute]]) -> list[dict[str, object]]:
    """Return minutes of each lane of a source as plain values, for JSON."""
    return [
        {
            "endpoint": lane,
            "source": source,
            "minutes": [[one.minute, one.delivered, one.failed, one.backlog] for one in of_lane],
        }
        for lane, of_lane in minutes.items()
    ]


def _now() -> int:
    return int(time.time() // 60)
