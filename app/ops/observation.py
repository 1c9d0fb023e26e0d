"""Describe the state of a process for those who ask from outside, in words and in numbers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.config.settings import Settings
from app.lane.lane_loops import LaneLoops
from app.ops.operations import OperatorWork
from app.ops.report import EndpointReport
from app.ops.reporter import Identity, endpoint_report
from app.ops.sampler import Sample, Sampler
from app.store.client import Link
from app.store.lease import Lease
from app.store.neighbours import Neighbours
from app.telemetry import log
from app.telemetry.metrics import EVERYBODY, LaneMetrics


@dataclass(frozen=True)
class LaneView:
    """Describes one lane as it is now."""

    loops: LaneLoops
    sample: Sample
    report: EndpointReport

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


@dataclass
class ObservedSource:
    """Holds what is known of one source. `unusable`: it cannot work, until a person has changed something."""

    name: str
    link: Link
    lease: Lease
    sampler: Sampler
    neighbours: Neighbours
    work: OperatorWork
    running: Callable[[], Sequence[LaneLoops]]
    unusable: bool = False

    @property
    def lanes(self) -> list[LaneView]:
        now, samples = datetime.now(UTC), self.sampler.samples
        return [LaneView(loops, samples[loops.endpoint.name], endpoint_report(loops, now)) for loops in self.running()]

    @property
    def samples(self) -> list[Sample]:
        return list(self.sampler.samples.values())

    @property
    def redis_up(self) -> bool:
        """Tell whether its Redis answers, and lets us in."""
        return not (self.link.outage.lasts or self.link.refused.refuses_login)

    @property
    def unready(self) -> list[str]:
        """Return the reasons why nothing of it can be delivered now; empty if it can. Strangers may read them."""
        reasons = []
        if self.link.outage.lasts:
            reasons.append(f"Redis has not answered for {self.link.outage.seconds:.0f} s")
        reasons += self.link.refused.states
        if self.unusable:
            reasons.append("it cannot be read as it is configured: the log says why")
        elif not self.lease.holds():
            reasons.append("no processing list yet: still acquiring one, or all 64 are in use")
        return reasons


@dataclass
class Observation:
    """Describes one process. `heartbeats`: when each loop last gave one, on the monotonic clock."""

    settings: Settings
    sources: Sequence[ObservedSource]
    heartbeats: Callable[[], Sequence[float]]
    stopping: asyncio.Event
    identity: Identity = field(default_factory=Identity)

    @property
    def first(self) -> ObservedSource:
        return self.sources[0]

    @property
    def lanes(self) -> list[LaneView]:
        return [lane for source in self.sources for lane in source.lanes]

    @property
    def redis_up(self) -> bool:
        """Tell whether each Redis answers, and lets us in."""
        return all(source.redis_up for source in self.sources)

    @property
    def is_alive(self) -> bool:
        """Tell whether every loop runs. At a stop, loops have the grace in which to end."""
        return self.stopping.is_set() or all(
            time.monotonic() - heartbeat < self.first.link.timings.stuck for heartbeat in self.heartbeats()
        )

    @property
    def unready(self) -> list[str]:
        """Return the reasons why it can deliver nothing of a source now; empty if it can. Strangers may read them."""
        several = len(self.sources) > 1
        reasons = [
            f"source {source.name}: {reason}" if several else reason
            for source in self.sources
            for reason in source.unready
        ]
        return [*reasons, "stopping"] if self.stopping.is_set() else reasons

    @property
    def to_distribute(self) -> int | None:
        """Return how many CDRs wait for distribution; None where there is none."""
        everywhere = [one.sampler.samples[EVERYBODY] for one in self.sources if EVERYBODY in one.sampler.samples]
        return sum(one.lengths.pending for one in everywhere) if everywhere else None

    @property
    def events(self) -> Sequence[dict[str, Any]]:
        """Return the last events of this process, the oldest first."""
        return list(log.recent)
