"""Build the parts of one source, and hold what its lanes and reports share."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from app.config.settings import Settings
from app.config.source import Source
from app.config.timings import Timings
from app.lane.adopter import Adopter
from app.lane.distribution import Distribution, Taker
from app.lane.incoming import Incoming
from app.lane.lane_loops import Endpoint, LaneLoops, Shared
from app.ops.observation import ObservedSource
from app.ops.operations import OperatorWork
from app.ops.reporter import Reporter
from app.ops.sampler import Sample, Sampler
from app.store.client import Link
from app.store.clock import RedisClock
from app.store.keys import Slot, Topology
from app.store.lease import Lease
from app.store.neighbours import Neighbours
from app.store.operations import Operations
from app.store.retry_set import Tokens
from app.telemetry.delivery_log import DeliveryLog
from app.telemetry.metrics import EVERYBODY, LaneMetrics


@dataclass(frozen=True)
class Common:
    """Holds what all sources of a process have in common."""

    settings: Settings
    timings: Timings
    stopping: asyncio.Event
    process_id: str
    tokens: Tokens
    endpoints: Mapping[str, Endpoint]
    delivery_log: DeliveryLog | None


class SourceParts:
    """Holds what is one source's own. `lanes` and `distributions`: those of the slot that it owns, or owned last."""

    def __init__(self, source: Source, common: Common) -> None:
        self.source = source
        self.topology = Topology(source)
        self.link = Link(source, timings=common.timings)
        self.lease = Lease(self.link, common.process_id, source, common.settings.lease)
        self.sampler = Sampler(self.link, _samples(self.topology))
        self.work = OperatorWork(Operations(self.link, self.topology), common.timings)
        self.neighbours = Neighbours(self.link, self.lease)
        self.reporter = Reporter(self.link, self.lease, lambda: self.lanes)
        self.lanes: list[LaneLoops] = []
        self.distributions: list[Distribution] = []
        self.observed = ObservedSource(
            source.name, self.link, self.lease, self.sampler, self.neighbours, self.work, lambda: self.lanes
        )
        self._common = common
        self._shared = Shared(
            common.settings,
            self.link,
            self.lease,
            RedisClock(),
            common.tokens,
            common.timings,
            common.stopping,
            common.delivery_log,
        )

    def forwarding(self, slot: Slot) -> list[Coroutine[Any, Any, None]]:
        """Build the lanes for a slot, and return all loops that move CDRs."""
        self.lanes = [self._lane(name, slot) for name in self.topology.endpoints]
        loops = [lane.run() for lane in self.lanes]
        return loops + self._distributing(slot) if self.source.fans_out else loops

    def _lane(self, endpoint: str, slot: Slot) -> LaneLoops:
        return LaneLoops(
            self._shared,
            self._common.endpoints[endpoint],
            self.topology.lane(endpoint),
            slot=slot.number,
            oldest=self.topology.pending_oldest,
            metrics=self.sampler.samples[endpoint].metrics,
        )

    def _distributing(self, slot: Slot) -> list[Coroutine[Any, Any, None]]:
        """Return the loops that fill the pending lists of all lanes."""
        keys, common = self.topology.short, self._common
        queue = self._shared.queue(keys, slot.number, self.topology.source_oldest)
        distribution = Distribution(queue, self.lease, list(map(_taker, self.lanes)), common.timings, common.stopping)
        self.distributions = [distribution]
        adopter = Adopter(
            link=self.link,
            lease=self.lease,
            queue=queue,
            keys=keys,
            incoming=Incoming(),
            # Strays in this list need no sweep: distribution takes whatever is at its head.
            may_adopt=lambda: True,
            on_adopted=self._count_orphans,
            stopping=common.stopping,
        )
        return [distribution.run(), adopter.run()]

    def _count_orphans(self, number: int) -> None:
        self.sampler.samples[EVERYBODY].metrics.recovered["orphan"] += number


def _samples(topology: Topology) -> dict[str, Sample]:
    """Return the samples that are taken in Redis: of what waits for distribution, and of each lane."""
    waiting = {EVERYBODY: Sample(topology.short, topology.source_oldest, LaneMetrics(EVERYBODY))}
    lanes = {name: Sample(keys, topology.pending_oldest, LaneMetrics(name)) for name, keys in topology.lanes.items()}
    return waiting | lanes if topology.fans_out else lanes


def _taker(loops: LaneLoops) -> Taker:
    lane = loops.lane
    return Taker(lane.queue.keys, lambda: not lane.is_shut, lambda: lane.is_shut and loops.prober.wants_new)
