"""Put together what the page shows: all processes as Redis knows them, and what only this one knows.

Whoever has no token gets numbers and states: no ids, addresses, host names or error texts.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from app.ops.observation import Observation
from app.ops.overview import Overview, midnight, parts, seconds_to_drain
from app.ops.status import LaneStatus, Process
from app.ops.troubles import level_of, troubles
from app.ops.words import Condition, condition
from app.store.minutes import A_DAY

ALL_IS_WELL: Final = "All is well"
UNKNOWN: Final = Condition("unknown", "nothing is known: Redis does not answer")


@dataclass(frozen=True)
class View:
    """Answers from memory, or from a look at Redis that many callers share."""

    observed: Observation
    overview: Overview

    async def status(self, zone: tzinfo, *, trusted: bool) -> dict[str, Any]:
        """Return plain values, for JSON. `zone`: that of times in words, and of today."""
        seen, now = await self.overview.look(), datetime.now(zone)
        lanes = [self._lane(lane, now) for lane in seen.lanes]
        found = [(lane.endpoint, condition, lane.counted.dead) for lane, condition in lanes]
        wrong = troubles(self.observed, found, zone)
        return {
            "version": self.observed.identity.version,
            "now": now.astimezone(UTC).isoformat(timespec="seconds"),
            "level": wrong[0].level if wrong else "good",
            "short": wrong[0].short if wrong else ALL_IS_WELL,
            "troubles": [asdict(trouble) for trouble in wrong],
            "ready": not self.observed.unready,
            "seen_seconds_ago": round(seen.age, 1) if seen.lanes else None,
            "redis": {"up": self.observed.redis_up, "memory_used_ratio": self.observed.first.sampler.memory_used_ratio},
            "foreign_consumers": self.observed.first.neighbours.foreign_consumers,
            "to_distribute": self.observed.to_distribute,
            "lanes": [self._lane_parts(*lane, zone, trusted=trusted) for lane in lanes],
            "processes": [self._process_parts(owner, now, trusted=trusted) for owner in seen.owners],
            "private": self._private() if trusted else None,
        }

    async def minutes(self, hours: int) -> dict[str, Any]:
        """Return what all processes delivered in each minute, what failed and what waited."""
        seen = await self.overview.look()
        named = {lane.endpoint: self.overview.minutes(lane.endpoint, min(60 * hours, A_DAY)) for lane in seen.lanes}
        return {"fields": ["minute", "delivered", "failed", "backlog"], "lanes": parts(named)}

    async def others_down(self, endpoint: str) -> int:
        """Return how many other processes take the endpoint to be down."""
        own, seen = self.observed.first.lease.owner.id, await self.overview.look()
        reports = [one.report.endpoints.get(endpoint) for one in seen.owners if one.report.id != own]
        return sum(report is not None and report.breaker in {"open", "half-open"} for report in reports)

    def _lane(self, lane: LaneStatus, now: datetime) -> tuple[LaneStatus, Condition]:
        if not self.observed.redis_up:
            return lane, UNKNOWN
        found = condition(lane.reports, lane.counted, now.astimezone(UTC), now.tzinfo or UTC)
        return lane, found

    def _lane_parts(self, lane: LaneStatus, found: Condition, zone: tzinfo, *, trusted: bool) -> dict[str, Any]:
        minutes = self.overview.minutes(lane.endpoint)
        drained = seconds_to_drain(minutes, lane.counted.all)
        urls = {one.name: one.shown_url for one in self.observed.settings.endpoints}
        told = lane.reported.parts
        return {
            **lane.parts,
            "level": level_of(found, lane.counted.dead),
            "state": found.state,
            "words": found.words,
            "waiting": lane.counted.all,
            "processing": sum(lane.processing.values()),
            "delivered_today": self.overview.delivered_since(lane.endpoint, midnight(zone)),
            "seconds_to_drain": drained and round(drained),
            "can_probe": found.state == "down",
            **{name: told[name] for name in ("next_probe_at", "hold_until")},
            **{name: sum(getattr(one, name) for one in lane.reports) for name in ("in_flight", "prefetched")},
            **({"url": urls.get(lane.endpoint)} if trusted else {}),
        }

    def _process_parts(self, owner: Process, now: datetime, *, trusted: bool) -> dict[str, Any]:
        report = owner.report
        return {
            "slot": owner.slot,
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
        observed = self.observed
        return {
            "integrator": observed.settings.integrator,
            "host": observed.identity.host,
            "redis_url": observed.settings.sources[0].redis.shown_url,
            "source_key": observed.settings.sources[0].key,
            "unready": observed.unready,
            "events": list(observed.events),
        }
