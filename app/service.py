"""Put the parts together, start and stop them."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

from app.config.endpoint import EndpointSettings
from app.config.settings import Settings
from app.config.timings import Timings
from app.config.values import redacted
from app.dead_letters.retention import drop_expired
from app.delivery.attempt import Attempt
from app.delivery.breaker import Breaker
from app.delivery.gate import Gate
from app.delivery.outage import Outage
from app.errors import FencedError, ForwarderError
from app.lane.adopter import Adopter
from app.lane.arrivals import Arrivals
from app.lane.distribution import Distribution, Taker
from app.lane.loops import Endpoint, LaneLoops, Shared
from app.ops.letters_api import Letters
from app.ops.observation import Observation
from app.ops.reporter import Reporter
from app.ops.sampler import Sample, Sampler
from app.ops.server import Ops
from app.store.client import Link
from app.store.clock import RedisClock
from app.store.keys import Slot, Topology
from app.store.lease import Lease
from app.store.leftovers import report
from app.store.meaning import FOREIGN_ERRORS
from app.store.neighbours import Neighbours
from app.store.owner import new_process_id
from app.store.preflight import preflight
from app.store.retry_set import Tokens
from app.telemetry import process_events
from app.telemetry.metrics import LaneMetrics

STOPPED_AS_ASKED: Final = 0
CUT_OFF: Final = 3

EVERYBODY: Final = "all"
"""Stands in place of an endpoint where a CDR is not distributed yet."""

FAREWELL: Final = 1.0
"""Seconds that giving the lease back may take."""


class Service:
    """One process: its link to Redis, its slot, and its lanes."""

    def __init__(self, settings: Settings, timings: Timings | None = None) -> None:
        self._settings = settings
        self._topology = Topology(settings)
        self._timings = timings or Timings()
        self._stopping = asyncio.Event()
        self._deadline: asyncio.Timeout = asyncio.timeout(None)
        self._process_id = new_process_id()
        self._link = Link(settings, timings=self._timings)
        self._lease = Lease(self._link, self._process_id, settings)
        self._metrics = {one.name: LaneMetrics(one.name) for one in settings.endpoints}
        self._sampler = Sampler(self._link, self._samples())
        self._endpoints = [self._endpoint(one) for one in settings.endpoints]
        self._neighbours = Neighbours(self._link, self._lease)
        self._reporter = Reporter(self._link, self._lease, lambda: self._lanes)
        self._shared = Shared(
            settings,
            self._link,
            self._lease,
            RedisClock(),
            Tokens(self._process_id),
            self._timings,
            self._stopping,
        )
        self._lanes: list[LaneLoops] = []
        self._distributions: list[Distribution] = []
        self._is_holding = False

    async def run(self) -> int:
        """Forward until a signal; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        urls = {one.name: redacted(one.url.get_secret_value()) for one in self._settings.endpoints}
        process_events.service_started(
            version("cdr-forwarder"), self._settings.integrator, self._settings.source_key, urls
        )
        self._warn()
        try:
            async with self._deadline, self._ops():
                await self._forward()
        except TimeoutError:
            if not self._deadline.expired():
                raise
        finally:
            await self._close()
        return self._exit_status()

    def _warn(self) -> None:
        """Tell of what somebody has chosen, and may have forgotten."""
        for endpoint in self._settings.endpoints:
            if not endpoint.tls_verify:
                process_events.endpoint_unverified(endpoint.name)
            if endpoint.shows_secrets:
                process_events.endpoint_unencrypted(endpoint.name)

    def stop(self) -> None:
        """Stop claiming and let what is on the wire finish, within the grace; a second signal ends the grace."""
        impatient = self._stopping.is_set() or not self._lanes
        grace = 0.0 if impatient else self._settings.shutdown_grace
        self._stopping.set()
        process_events.service_stopping(grace)
        with suppress(RuntimeError):  # it has ended meanwhile, and only says goodbye
            self._deadline.reschedule(asyncio.get_running_loop().time() + grace)

    async def _forward(self) -> None:
        await preflight(self._link, f"{self._topology.scratch}:{self._process_id}")
        await report(self._link, self._topology)
        while not self._stopping.is_set():
            slot = await self._lease.take()
            await self._hold(slot)

    async def _hold(self, slot: Slot) -> None:
        """Run the lanes until a stop, or while the slot is ours."""
        self._lanes = [self._lane(endpoint, slot) for endpoint in self._endpoints]
        forwarding = [lane.run() for lane in self._lanes]
        if self._settings.fans_out:
            forwarding += self._distribute(slot)
        self._is_holding = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._unblock_at_stop())
                beside = [
                    tasks.create_task(self._lease.keep()),
                    tasks.create_task(self._link.watch_master()),
                    tasks.create_task(self._neighbours.run()),
                    tasks.create_task(self._sampler.run(slot.number)),
                    tasks.create_task(self._reporter.run(slot)),
                    tasks.create_task(drop_expired(self._link, self._settings)),
                ]
                async with asyncio.TaskGroup() as lanes:
                    for work in forwarding:
                        lanes.create_task(work)
                for task in beside:
                    task.cancel()
        except* FencedError:
            pass  # its new owner delivers what they held; raised from here it would be a group, before Python 3.11.4
        finally:
            self._is_holding = False
            await self._link.close_channels()

    async def _unblock_at_stop(self) -> None:
        await self._stopping.wait()
        with suppress(*FOREIGN_ERRORS):  # without it, the waiting claim ends by itself a little later
            await self._link.unblock()

    async def _close(self) -> None:
        with suppress(ForwarderError, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._lease.release()
        for endpoint in self._endpoints:
            await endpoint.attempt.aclose()
        await self._link.aclose()

    def _exit_status(self) -> int:
        cut_off = sum(loops.lane.in_flight.number for loops in self._lanes)
        if cut_off:
            process_events.grace_exceeded(cut_off)
        return CUT_OFF if cut_off else STOPPED_AS_ASKED

    def _endpoint(self, settings: EndpointSettings) -> Endpoint:
        timings, sample = self._timings, self._sampler.samples[settings.name]
        gate = Gate(Breaker(settings.breaker_threshold, timings), settings.rate_limit, timings)
        url = urlsplit(settings.url.get_secret_value())
        place = f"{url.hostname}:{url.port or {'https': 443}.get(url.scheme, 80)}"
        outage = Outage(settings.name, place, timings.failing, lambda: sample.lengths.waiting)
        return Endpoint(settings, Attempt(settings), gate, outage, sample.metrics)

    def _lane(self, endpoint: Endpoint, slot: Slot) -> LaneLoops:
        keys = self._topology.lane(endpoint.name)
        return LaneLoops(self._shared, endpoint, keys, slot.number, self._topology.pending_oldest)

    def _distribute(self, slot: Slot) -> list[Coroutine[Any, Any, None]]:
        """Return the loops that fill the pending lists of all lanes."""
        topology, shared = self._topology, self._shared
        queue = shared.queue(topology.short, slot.number, topology.source_oldest)
        takers = [_taker(lane) for lane in self._lanes]
        distribution = Distribution(queue, self._lease, takers, self._timings, self._stopping)
        self._distributions = [distribution]
        adopter = Adopter(
            link=self._link,
            lease=self._lease,
            queue=queue,
            keys=topology.short,
            arrivals=Arrivals(),
            may_adopt=lambda: True,
            adopted=self._count_orphans,
            stopping=self._stopping,
        )
        return [distribution.run(), adopter.run()]

    def _count_orphans(self, number: int) -> None:
        self._sampler.samples[EVERYBODY].metrics.recovered["orphan"] += number

    def _samples(self) -> dict[str, Sample]:
        """Return what is looked at in Redis: the keys of each lane, and what waits for distribution."""
        topology = self._topology
        samples = {
            name: Sample(topology.lane(name), topology.pending_oldest, one) for name, one in self._metrics.items()
        }
        if topology.fans_out:
            everybodys = Sample(topology.short, topology.source_oldest, LaneMetrics(EVERYBODY))
            samples = {EVERYBODY: everybodys} | samples
        return samples

    def _ops(self) -> AbstractAsyncContextManager[object]:
        settings = self._settings
        if not settings.ops_port:
            return nullcontext()
        observation = Observation(
            settings,
            self._link,
            self._lease,
            self._sampler,
            self._neighbours,
            lambda: self._lanes,
            self._pulses,
            self._stopping,
        )
        return Ops(settings, observation, Letters(self._link, settings))

    def _pulses(self) -> list[float]:
        """Return when each loop last gave its heartbeat. Distribution waits for Redis as long as Redis wants."""
        if not self._is_holding:
            return []
        waits_for_redis = self._link.outage.lasts or self._link.refused
        distributions = [] if waits_for_redis else [one.heartbeat_at for one in self._distributions]
        return [*(loops.claimer.heartbeat_at for loops in self._lanes), *distributions]


def _taker(loops: LaneLoops) -> Taker:
    lane = loops.lane
    return Taker(lane.queue.keys, lambda: not lane.is_shut, lambda: lane.is_shut and loops.prober.wants_new)
