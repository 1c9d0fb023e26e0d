"""Build the parts of a process from its settings, and hold what its sources and operator server share."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

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
from app.lane.lane_loops import Endpoint, LaneLoops
from app.ops.letters_api import Letters
from app.ops.observation import Observation
from app.ops.overview import Overview
from app.ops.probe import Probes
from app.ops.server import Ops
from app.ops.view import View
from app.source_parts import Common, SourceParts
from app.store.owner import new_process_id
from app.store.retry_set import Tokens
from app.telemetry import stdout
from app.telemetry.delivery_log import DeliveryLog


class Parts:
    """Holds what one process is made of."""

    def __init__(self, settings: Settings, timings: Timings) -> None:
        self.settings = settings
        self.timings = timings
        self.stopping = asyncio.Event()
        self.process_id = new_process_id()
        self._resolver = Resolver()
        self.endpoints = {one.name: self._endpoint(one) for one in settings.endpoints}
        self.delivery_log = _delivery_log(settings, timings)
        common = Common(
            settings=settings,
            timings=timings,
            stopping=self.stopping,
            process_id=self.process_id,
            tokens=Tokens(self.process_id),
            endpoints=self.endpoints,
            delivery_log=self.delivery_log,
        )
        self.sources = [SourceParts(source, common) for source in settings.sources]
        self.notifier = self._notifier()

    @property
    def lanes(self) -> list[LaneLoops]:
        """Return those of the slots that are owned, or were owned last."""
        return [lane for source in self.sources for lane in source.lanes]

    def operator_server(self, heartbeats: Callable[[], Sequence[float]]) -> AbstractAsyncContextManager[object]:
        """Return the operator server, where one is configured. `heartbeats`: see Observation."""
        if not self.settings.ops_port:
            return nullcontext()
        observed = Observation(self.settings, [one.observed for one in self.sources], heartbeats, self.stopping)
        view = View(observed, [Overview(one.link, self.settings, one.reporter.report) for one in self.sources])
        probes = Probes(lambda: self.lanes, list(self.endpoints), self.timings.probe_wait, view.others_down)
        return Ops(self.settings, view, Letters(observed.sources, self.timings), probes)

    def _endpoint(self, settings: EndpointSettings) -> Endpoint:
        timings = self.timings
        gate = Gate(Breaker(settings.breaker_threshold, timings), settings.rate_limit, settings.concurrency, timings)
        place = host_and_port(settings.url.get_secret_value())
        outage = Outage(settings.name, place, timings.failing, partial(self._waiting, settings.name))
        certificate = Certificate(settings.name)
        plain = build_transport(settings, self._resolver, certificate.note)
        transport = with_tokens(plain, settings, timings, self._resolver, lambda: not gate.breaker.is_closed)
        attempt = Attempt(settings, transport, names_source=len(self.settings.sources) > 1)
        refusals = Refusals(settings.name, timings.complaint_pause)
        return Endpoint(settings, attempt, certificate, gate, BatchSize(settings, timings), outage, refusals)

    def _notifier(self) -> Notifier | None:
        """Return what sends notices, where they are asked for, and let it hear of all that they tell."""
        if not (endpoint := self.settings.notice_endpoint):
            return None
        notifier = Notifier(endpoint, self.settings.integrator, self._resolver, self.timings)
        for source in self.sources:
            source.link.inform(notifier.notices, source.source.name if len(self.sources) > 1 else "")
        for one in self.endpoints.values():
            one.outage.inform(notifier.notices)
            one.refusals.inform(notifier.notices)
        return notifier

    def _waiting(self, endpoint: str) -> int:
        """Return how many CDRs the samplers have seen waiting for an endpoint."""
        return sum(one.sampler.waiting_for(endpoint) for one in self.sources)


def _delivery_log(settings: Settings, timings: Timings) -> DeliveryLog | None:
    if not settings.delivery_log:
        return None
    return DeliveryLog(stdout.queued(), settings.delivery_log_fields, timings.complaint_pause)
