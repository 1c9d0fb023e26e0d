"""Put together what the page shows: all processes as Redis knows them, and what only this one knows.

Whoever has no token gets numbers and states: no ids, addresses, host names or error texts.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from app.ops.observation import Observation, ObservedSource
from app.ops.overview import Overview, Seen, midnight, parts, seconds_to_drain
from app.ops.status import LaneStatus, Process
from app.ops.troubles import Judged, level_of, troubles
from app.ops.words import Condition, condition
from app.store.minutes import A_DAY

ALL_IS_WELL: Final = "All is well"
UNKNOWN: Final = Condition("unknown", "nothing is known: Redis does not answer")


@dataclass(frozen=True)
class SeenLane:
    """Holds one lane with what is said of it. `source`: which of those of the process."""

    source: int
    status: LaneStatus
    condition: Condition


@dataclass(frozen=True)
class View:
    """Answers from memory, or from looks at Redis that many callers share. `overviews`: one of each source."""

    observed: Observation
    overviews: Sequence[Overview]

    @property
    def several(self) -> bool:
        """Tell whether there are several sources, so that their names tell the reader something."""
        return len(self.overviews) > 1

    async def status(self, zone: tzinfo, *, trusted: bool) -> dict[str, Any]:
        """Return plain values, for JSON. `zone`: that of times in words, and of today."""
        looks, now = await self._look(), datetime.now(zone)
        lanes = [self._lane(index, lane, now) for index, seen in enumerate(looks) for lane in seen.lanes]
        wrong = troubles(self.observed, [self._seen(lane) for lane in lanes if self._is_up(lane.source)], zone)
        sources = self.observed.sources
        ratios = [ratio for one in sources if (ratio := one.sampler.memory_used_ratio) is not None]
        return {
            "version": self.observed.identity.version,
            "now": now.astimezone(UTC).isoformat(timespec="seconds"),
            "level": wrong[0].level if wrong else "good",
            "short": wrong[0].short if wrong else ALL_IS_WELL,
            "troubles": [asdict(trouble) for trouble in wrong],
            "ready": not self.observed.unready,
            "seen_seconds_ago": min((_age(seen) for seen in looks if seen.lanes), default=None),
            "redis": {"up": self.observed.redis_up, "memory_used_ratio": max(ratios, default=None)},
            "foreign_consumers": sum(one.neighbours.foreign_consumers for one in sources),
            "to_distribute": self.observed.to_distribute,
            "sources": [self._source_parts(*one, trusted=trusted) for one in zip(sources, looks, strict=True)],
            "lanes": [self._lane_parts(lane, zone, trusted=trusted) for lane in lanes],
            "processes": [self._process_parts(*one, now, trusted=trusted) for one in self._owners(looks)],
            "private": self._private() if trusted else None,
        }

    async def minutes(self, hours: int) -> dict[str, Any]:
        """Return what all processes delivered in each minute, what failed and what waited."""
        looks, last = await self._look(), min(60 * hours, A_DAY)
        found: list[dict[str, object]] = []
        for source, overview, seen in zip(self.observed.sources, self.overviews, looks, strict=True):
            found += parts(source.name, {lane.endpoint: overview.minutes(lane.endpoint, last) for lane in seen.lanes})
        return {"fields": ["minute", "delivered", "failed", "backlog"], "lanes": found}

    async def others_down(self, endpoint: str) -> int:
        """Return how many other processes take the endpoint to be down; each reports once for each source."""
        own, looks = self.observed.first.lease.owner.id, await self._look()
        reports = {one.report.id: one.report.endpoints.get(endpoint) for _, one in self._owners(looks)}
        others = [report for name, report in reports.items() if report and name != own]
        return sum(report.breaker in {"open", "half-open"} for report in others)

    def _owners(self, looks: Sequence[Seen]) -> list[tuple[str, Process]]:
        """Return the live processes that each source has, with its name."""
        seen = zip(self.observed.sources, looks, strict=True)
        return [(source.name, owner) for source, look in seen for owner in look.owners]

    async def _look(self) -> list[Seen]:
        return await asyncio.gather(*(overview.look() for overview in self.overviews))

    def _is_up(self, source: int) -> bool:
        return self.observed.sources[source].redis_up

    def _lane(self, source: int, lane: LaneStatus, now: datetime) -> SeenLane:
        if not self._is_up(source):
            return SeenLane(source, lane, UNKNOWN)
        found = condition(lane.reports, lane.counted, now.astimezone(UTC), now.tzinfo or UTC)
        return SeenLane(source, lane, found)

    def _seen(self, lane: SeenLane) -> Judged:
        endpoint = lane.status.endpoint
        name = f"{endpoint}, from {lane.status.source}" if self.several else endpoint
        return Judged(endpoint, name, lane.condition, lane.status.counted.dead)

    def _source_parts(self, source: ObservedSource, seen: Seen, *, trusted: bool) -> dict[str, Any]:
        return {
            "name": source.name,
            "redis_up": source.redis_up,
            "memory_used_ratio": source.sampler.memory_used_ratio,
            "foreign_consumers": source.neighbours.foreign_consumers,
            "ready": not source.unready,
            "seen_seconds_ago": _age(seen) if seen.lanes else None,
            **({"redis_url": source.link.place, "source_key": source.link.source.key} if trusted else {}),
        }

    def _lane_parts(self, lane: SeenLane, zone: tzinfo, *, trusted: bool) -> dict[str, Any]:
        status, found, overview = lane.status, lane.condition, self.overviews[lane.source]
        drained = seconds_to_drain(overview.minutes(status.endpoint), status.counted.all)
        urls = {one.name: one.shown_url for one in self.observed.settings.endpoints}
        told = status.reported.parts
        return {
            **status.parts,
            "level": level_of(found, status.counted.dead),
            "state": found.state,
            "words": found.words,
            "waiting": status.counted.all,
            "processing": sum(status.processing.values()),
            "delivered_today": overview.delivered_since(status.endpoint, midnight(zone)),
            "seconds_to_drain": drained and round(drained),
            "can_probe": found.state == "down",
            **{name: told[name] for name in ("next_probe_at", "hold_until")},
            **{name: sum(getattr(one, name) for one in status.reports) for name in ("in_flight", "prefetched")},
            **({"url": urls.get(status.endpoint)} if trusted else {}),
        }

    def _process_parts(self, source: str, owner: Process, now: datetime, *, trusted: bool) -> dict[str, Any]:
        report = owner.report
        return {
            "slot": owner.slot,
            "source": source,
            "version": report.version,
            "started_at": report.started_at and report.started_at.isoformat(timespec="seconds"),
            "reported_seconds_ago": round((now - report.at).total_seconds(), 1) if report.at else None,
            "answers": report.id == self.observed.first.lease.owner.id,
            "in_flight": sum(one.in_flight for one in report.endpoints.values()),
            "delivered": sum(one.delivered for one in report.endpoints.values()),
            "breakers": {name: one.breaker for name, one in report.endpoints.items()},
            **({"host": owner.host} if trusted else {}),
        }

    def _private(self) -> dict[str, Any]:
        observed, only = self.observed, self.observed.settings.sources[0]
        return {
            "integrator": observed.settings.integrator,
            "host": observed.identity.host,
            # Of several sources, each has its own under `sources`.
            **({} if self.several else {"redis_url": only.redis.shown_url, "source_key": only.key}),
            "unready": observed.unready,
            "events": list(observed.events),
        }


def _age(seen: Seen) -> float:
    return round(seen.age, 1)
