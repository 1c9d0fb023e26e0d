"""Describe the state of a process for those who ask from outside, in words and in numbers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.config.settings import Settings
from app.lane.lane_loops import LaneLoops
from app.ops.report import EndpointReport
from app.ops.reporter import Identity, endpoint_report
from app.ops.sampler import Sample, Sampler
from app.ops.words import Condition, Waiting, condition
from app.store.client import Link
from app.store.lease import Lease
from app.store.neighbours import Neighbours
from app.telemetry import log
from app.telemetry.metrics import EVERYBODY, LaneMetrics


@dataclass(frozen=True)
class LaneView:
    """Describes one lane as it is now."""

    loops: LaneLoops
    url: str
    sample: Sample
    report: EndpointReport
    now: datetime

    @property
    def endpoint(self) -> str:
        return self.loops.endpoint.name

    @property
    def metrics(self) -> LaneMetrics:
        return self.sample.metrics

    @property
    def oldest_in_flight(self) -> float:
        """Return the seconds since the oldest one was claimed; 0 if none is in flight."""
        claimed_at = self.loops.lane.in_flight.oldest_claimed_at
        return time.monotonic() - claimed_at if claimed_at else 0.0

    @property
    def is_open(self) -> bool:
        return not self.loops.lane.gate.breaker.is_closed

    @property
    def condition(self) -> Condition:
        lengths = self.sample.lengths
        waiting = Waiting(lengths.pending, lengths.waiting, lengths.deferred, lengths.dead)
        return condition([self.report], waiting, self.now)

    @property
    def parts(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        found, last = self.condition, self.metrics.last_delivery_at
        return {
            "endpoint": self.endpoint,
            "source": self.sample.keys.source,
            "url": self.url,
            "state": found.state,
            "words": found.words,
            "concurrency": self.loops.endpoint.settings.concurrency,
            "oldest_in_flight_seconds": round(self.oldest_in_flight, 1),
            **asdict(self.sample.lengths),
            "pending_head_age_seconds": round(self.sample.head_age, 1),
            **self.report.parts,
            "last_delivery_at": last and datetime.fromtimestamp(last, UTC).isoformat(timespec="seconds"),
            "hour": [asdict(minute) for minute in self.sample.hour],
        }


@dataclass
class Observation:
    """Describes one process. `heartbeats`: when each loop last gave one, on the monotonic clock."""

    settings: Settings
    link: Link
    lease: Lease
    sampler: Sampler
    neighbours: Neighbours
    running: Callable[[], Sequence[LaneLoops]]
    heartbeats: Callable[[], Sequence[float]]
    stopping: asyncio.Event
    identity: Identity = field(default_factory=Identity)

    @property
    def lanes(self) -> list[LaneView]:
        now = datetime.now(UTC)
        urls = {one.name: one.shown_url for one in self.settings.endpoints}
        samples = self.sampler.samples
        return [
            LaneView(loops, urls[name], samples[name], endpoint_report(loops, now), now)
            for loops in self.running()
            if (name := loops.endpoint.name)
        ]

    @property
    def samples(self) -> list[Sample]:
        return list(self.sampler.samples.values())

    @property
    def redis_up(self) -> bool:
        """Tell whether Redis answers, and lets us in."""
        return not (self.link.outage.lasts or self.link.refused.refuses_login)

    @property
    def is_alive(self) -> bool:
        """Tell whether every loop runs. At a stop, loops have the grace in which to end."""
        return self.stopping.is_set() or all(
            time.monotonic() - heartbeat < self.link.timings.stuck for heartbeat in self.heartbeats()
        )

    @property
    def unready(self) -> list[str]:
        """Return the reasons why it can deliver nothing now; empty if it can. Strangers may read them."""
        reasons = []
        if self.link.outage.lasts:
            reasons.append(f"Redis has not answered for {self.link.outage.seconds:.0f} s")
        reasons += self.link.refused.states
        if not self.lease.holds():
            reasons.append("no processing list yet: still acquiring one, or all 64 are in use")
        if self.stopping.is_set():
            reasons.append("stopping")
        return reasons

    @property
    def parts(self) -> dict[str, Any]:
        """Return it as plain values, for JSON; no CDR content, and no secret."""
        slot = self.lease.slot
        everywhere = self.sampler.samples.get(EVERYBODY)
        return {
            "version": self.identity.version,
            "integrator": self.settings.integrator,
            "host": self.identity.host,
            "started_at": self.identity.started_at.isoformat(timespec="seconds"),
            "redis": {
                "url": self.settings.shown_redis_url,
                "up": self.redis_up,
                "memory_used_ratio": self.sampler.memory_used_ratio,
            },
            "foreign_consumers": self.neighbours.foreign_consumers,
            "slot": slot.number if slot else None,
            "unready": self.unready,
            "source": {
                "key": self.settings.source_key,
                "distributed": everywhere is not None,
                **(asdict(everywhere.lengths) if everywhere else {}),
            },
            "lanes": [lane.parts for lane in self.lanes],
            "events": list(log.recent),
        }
