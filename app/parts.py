"""Build the parts of a process from its settings, and hold what its lanes, reports and operator server share."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from app.config.endpoint import EndpointSettings
from app.config.hosts import host_and_port
from app.config.settings import Settings
from app.config.timings import Timings
from app.delivery.attempt import Attempt
from app.delivery.batch_size import BatchSize
from app.delivery.breaker import Breaker
from app.delivery.certificate import Certificate
from app.delivery.gate import Gate
from app.delivery.notifier import Notifier
from app.delivery.oauth2 import with_tokens
from app.delivery.outage import Outage, Refusals
from app.delivery.resolver import Resolver
from app.delivery.transport import build_transport
from app.lane.adopter import Adopter
from app.lane.distribution import Distribution, Taker
from app.lane.incoming import Incoming
from app.lane.lane_loops import Endpoint, LaneLoops, Shared
from app.ops.letters_api import Letters
from app.ops.observation import Observation
from app.ops.operations import OperatorWork
from app.ops.overview import Overview
from app.ops.probe import Probes
from app.ops.reporter import Reporter
from app.ops.sampler import Sample, Sampler
from app.ops.server import Ops
from app.ops.view import View
from app.store.client import Link
from app.store.clock import RedisClock
from app.store.keys import Slot, Topology
from app.store.lease import Lease
from app.store.neighbours import Neighbours
from app.store.operations import Operations
from app.store.owner import new_process_id
from app.store.retry_set import Tokens
from app.telemetry import stdout
from app.telemetry.delivery_log import DeliveryLog
from app.telemetry.metrics import EVERYBODY, LaneMetrics


class Parts:
    """Holds what one process is made of. `lanes` and `distributions`: those of the slot that it owns, or owned last."""

    def __init__(self, settings: Settings, timings: Timings) -> None:
        self.settings = settings
        self.timings = timings
        self.stopping = asyncio.Event()
        self.source = settings.sources[0]
        self.topology = Topology(self.source)
        self.process_id = new_process_id()
        self.link = Link(self.source, timings=timings)
        self.lease = Lease(self.link, self.process_id, self.source, settings.lease)
        self._resolver = Resolver()
        # Before the endpoints: their outages tell how many CDRs the sampler has seen waiting.
        self.sampler = Sampler(self.link, self._samples())
        self.endpoints = [self._endpoint(one) for one in settings.endpoints]
        self.work = OperatorWork(Operations(self.link, self.topology), timings)
        self.neighbours = Neighbours(self.link, self.lease)
        self.reporter = Reporter(self.link, self.lease, lambda: self.lanes)
        self.lanes: list[LaneLoops] = []
        self.distributions: list[Distribution] = []
        self.delivery_log = _delivery_log(settings, timings)
        self.notifier = self._notifier()
        self._shared = Shared(
            settings,
            self.link,
            self.lease,
            RedisClock(),
            Tokens(self.process_id),
            timings,
            self.stopping,
            self.delivery_log,
        )

    def forwarding(self, slot: Slot) -> list[Coroutine[Any, Any, None]]:
        """Build the lanes for a slot, and return all loops that move CDRs."""
        keys_of, oldest = self.topology.lane, self.topology.pending_oldest
        self.lanes = [LaneLoops(self._shared, one, keys_of(one.name), slot.number, oldest) for one in self.endpoints]
        loops = [lane.run() for lane in self.lanes]
        return loops + self._distributing(slot) if self.settings.fans_out else loops

    def operator_server(self, heartbeats: Callable[[], Sequence[float]]) -> AbstractAsyncContextManager[object]:
        """Return the operator server, where one is configured. `heartbeats`: see Observation."""
        if not self.settings.ops_port:
            return nullcontext()
        observation = Observation(
            self.settings,
            self.link,
            self.lease,
            self.sampler,
            self.neighbours,
            lambda: self.lanes,
            heartbeats,
            self.stopping,
        )
        view = View(observation, Overview(self.link, self.settings, self.reporter.report))
        probes = Probes(lambda: self.lanes, self.topology.endpoints, self.timings.probe_wait, view.others_down)
        return Ops(self.settings, view, Letters(self.link, self.settings, self.work), probes)

    def _endpoint(self, settings: EndpointSettings) -> Endpoint:
        timings, sample = self.timings, self.sampler.samples[settings.name]
        gate = Gate(Breaker(settings.breaker_threshold, timings), settings.rate_limit, timings)
        place = host_and_port(settings.url.get_secret_value())
        outage = Outage(settings.name, place, timings.failing, lambda: sample.lengths.waiting)
        certificate = Certificate(settings.name)
        plain = build_transport(settings, self._resolver, certificate.note)
        transport = with_tokens(plain, settings, timings, self._resolver, lambda: not gate.breaker.is_closed)
        attempt = Attempt(settings, transport)
        refusals = Refusals(settings.name, timings.complaint_pause)
        size = BatchSize(settings, timings)
        return Endpoint(settings, attempt, certificate, gate, size, outage, refusals, sample.metrics)

    def _notifier(self) -> Notifier | None:
        """Return what sends notices, where they are asked for, and let it hear of all that they tell."""
        if not (endpoint := self.settings.notice_endpoint):
            return None
        notifier = Notifier(endpoint, self.settings.integrator, self._resolver, self.timings)
        self.link.inform(notifier.notices)
        for one in self.endpoints:
            one.outage.inform(notifier.notices)
            one.refusals.inform(notifier.notices)
        return notifier

    def _distributing(self, slot: Slot) -> list[Coroutine[Any, Any, None]]:
        """Return the loops that fill the pending lists of all lanes."""
        keys = self.topology.short
        queue = self._shared.queue(keys, slot.number, self.topology.source_oldest)
        distribution = Distribution(queue, self.lease, list(map(_taker, self.lanes)), self.timings, self.stopping)
        self.distributions = [distribution]
        adopter = Adopter(
            link=self.link,
            lease=self.lease,
            queue=queue,
            keys=keys,
            incoming=Incoming(),
            # Strays in this list need no sweep: distribution takes whatever is at its head.
            may_adopt=lambda: True,
            adopted=self._count_orphans,
            stopping=self.stopping,
        )
        return [distribution.run(), adopter.run()]

    def _count_orphans(self, number: int) -> None:
        self.sampler.samples[EVERYBODY].metrics.recovered["orphan"] += number

    def _samples(self) -> dict[str, Sample]:
        """Return the samples that are taken in Redis: of what waits for distribution, and of each lane."""
        topology = self.topology
        waiting = {EVERYBODY: Sample(topology.short, topology.source_oldest, LaneMetrics(EVERYBODY))}
        lanes = {
            one.name: Sample(topology.lane(one.name), topology.pending_oldest, LaneMetrics(one.name))
            for one in self.settings.endpoints
        }
        return waiting | lanes if topology.fans_out else lanes


def _delivery_log(settings: Settings, timings: Timings) -> DeliveryLog | None:
    if not settings.delivery_log:
        return None
    return DeliveryLog(stdout.queued(), settings.delivery_log_fields, timings.complaint_pause)


def _taker(loops: LaneLoops) -> Taker:
    lane = loops.lane
    return Taker(lane.queue.keys, lambda: not lane.is_shut, lambda: lane.is_shut and loops.prober.wants_new)
