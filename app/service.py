"""How the parts are put together, started and stopped."""

import asyncio
import signal
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from importlib.metadata import version
from typing import Final

from app.config.endpoint import EndpointSettings
from app.config.settings import Settings
from app.config.values import redacted
from app.dead_letters.retention import drop_expired
from app.delivery.breaker import Breaker
from app.delivery.delivery import Delivery
from app.delivery.endpoint import Endpoint
from app.errors import FencedError, ForwarderError
from app.lane.adoption import Adoption
from app.lane.fanout import Fanout
from app.lane.in_flight import InFlight
from app.lane.intake import Intake
from app.lane.lane import Lane
from app.lane.parking import Parking
from app.lane.sweep import Sweep
from app.ops.letters_api import Letters
from app.ops.observation import Observation
from app.ops.sampler import Sample, Sampler
from app.ops.server import Ops
from app.store.client import FOREIGN_ERRORS, Link
from app.store.keys import Slot
from app.store.lease import Ownership, new_process_id
from app.store.leftovers import report
from app.store.preflight import preflight
from app.store.queue import Queue
from app.telemetry import events
from app.telemetry.metrics import LaneMetrics

STOPPED_AS_ASKED: Final = 0
CUT_OFF: Final = 3

EVERYBODY: Final = "all"
"""What stands in place of an endpoint where a CDR is not distributed yet."""

FAREWELL: Final = 1.0
"""Seconds that giving the lease back may take."""


class Service:
    """One process: its link to Redis, its slot, and its lanes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._deadline: asyncio.Timeout = asyncio.timeout(None)
        self._process_id = new_process_id()
        self._link = Link(settings, self._process_id)
        self._endpoints = {one.name: Endpoint(one) for one in settings.endpoints}
        self._ownership = Ownership(self._link, self._process_id, settings)
        self._lanes: list[Lane] = []
        self._fanouts: list[Fanout] = []
        self._is_holding = False
        self._metrics = {one.name: LaneMetrics(one.name) for one in settings.endpoints}
        self._sampler = Sampler(self._link, self._samples())

    async def run(self) -> int:
        """Forward until a signal; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        urls = {one.name: redacted(one.url.get_secret_value()) for one in self._settings.endpoints}
        events.service_started(version("cdr-forwarder"), self._settings.integrator, self._settings.source_key, urls)
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
                events.endpoint_unverified(endpoint.name)
            if endpoint.shows_secrets:
                events.endpoint_unencrypted(endpoint.name)

    def stop(self) -> None:
        """Stop claiming and let what is on the wire finish, within the grace; a second signal ends the grace."""
        impatient = self._stopping.is_set() or not self._lanes
        grace = 0.0 if impatient else self._settings.shutdown_grace
        self._stopping.set()
        events.service_stopping(grace)
        with suppress(RuntimeError):  # it has ended meanwhile, and only says goodbye
            self._deadline.reschedule(asyncio.get_running_loop().time() + grace)

    async def _forward(self) -> None:
        await preflight(self._link, f"{self._settings.scratch}:{self._process_id}")
        await report(self._link, self._settings)
        while not self._stopping.is_set():
            slot = await self._ownership.take()
            await self._hold(slot)

    async def _hold(self, slot: Slot) -> None:
        """Run the lanes until a stop, or while the slot is ours."""
        self._lanes = [self._lane(slot, endpoint) for endpoint in self._settings.endpoints]
        self._fanouts = [self._fanout(slot)] if self._settings.fans_out else []
        self._is_holding = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._unblock_at_stop())
                beside = [
                    tasks.create_task(self._ownership.keep()),
                    tasks.create_task(self._link.watch_master()),
                    tasks.create_task(self._sampler.run(self._slots_of(slot))),
                    tasks.create_task(drop_expired(self._link, self._settings)),
                ]
                async with asyncio.TaskGroup() as lanes:
                    for lane in self._lanes:
                        lanes.create_task(lane.run())
                    for fanout in self._fanouts:
                        lanes.create_task(fanout.run())
                for task in beside:
                    task.cancel()
        except* FencedError:
            pass  # its new owner delivers what they held; raised from here it would be a group, before Python 3.11.4
        finally:
            self._is_holding = False

    async def _unblock_at_stop(self) -> None:
        await self._stopping.wait()
        with suppress(*FOREIGN_ERRORS):  # without it, the waiting claim ends by itself a little later
            await self._link.unblock()

    async def _close(self) -> None:
        with suppress(ForwarderError, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._ownership.release()
        for endpoint in self._endpoints.values():
            await endpoint.aclose()
        await self._link.aclose()

    def _exit_status(self) -> int:
        cut_off = sum(lane.in_flight.number for lane in self._lanes)
        if cut_off:
            events.grace_exceeded(cut_off)
        return CUT_OFF if cut_off else STOPPED_AS_ASKED

    def _fanout(self, slot: Slot) -> Fanout:
        settings = self._settings
        queue = Queue(self._link, self._ownership, slot, settings.base_keys, settings.source_oldest)
        adoption = Adoption(self._link, queue, slot, EVERYBODY, settings.lease)
        metrics = self._sampler.samples[EVERYBODY].metrics
        lanes = {settings.lane_keys(lane.endpoint).pending: lane.takes for lane in self._lanes}
        return Fanout(queue, self._ownership, adoption, metrics, lanes, self._stopping)

    def _lane(self, slot: Slot, endpoint: EndpointSettings) -> Lane:
        settings, name = self._settings, endpoint.name
        slot = settings.slots(name)[slot.number - 1]
        queue = Queue(self._link, self._ownership, slot, settings.lane_keys(name), settings.pending_oldest)
        in_flight = InFlight(endpoint.concurrency)
        adoption = Adoption(self._link, queue, slot, name, settings.lease)
        sweep, breaker = Sweep(settings.sweep_interval), Breaker(name, endpoint.breaker_threshold)
        metrics = self._metrics[name]
        intake = Intake(name, in_flight, queue, self._ownership, adoption, sweep, breaker, metrics, self._stopping)
        parking = Parking(settings.sweep_interval, settings.give_up_after, endpoint.attempts)
        delivery = Delivery(self._endpoints[name], endpoint, breaker, metrics, self._stopping)
        return Lane(name, in_flight, intake, delivery, breaker, queue, parking, metrics, self._stopping)

    def _samples(self) -> dict[str, Sample]:
        """Return what is looked at in Redis: the lists of each lane, and what waits for distribution."""
        settings = self._settings
        oldest = settings.pending_oldest
        samples = {name: Sample(settings.lane_keys(name), oldest, one) for name, one in self._metrics.items()}
        if settings.fans_out:
            everybodys = Sample(settings.base_keys, settings.source_oldest, LaneMetrics(EVERYBODY))
            samples = {EVERYBODY: everybodys} | samples
        return samples

    def _slots_of(self, slot: Slot) -> dict[str, Slot]:
        names = {name: None if name == EVERYBODY else name for name in self._sampler.samples}
        return {key: self._settings.slots(name)[slot.number - 1] for key, name in names.items()}

    def _ops(self) -> AbstractAsyncContextManager[object]:
        settings = self._settings
        if not settings.ops_port:
            return nullcontext()
        observation = Observation(
            settings,
            self._link,
            self._ownership,
            self._sampler.samples,
            lambda: self._lanes,
            self._pulses,
            self._stopping,
        )
        return Ops(settings, observation, Letters(self._link, settings))

    def _pulses(self) -> list[float]:
        """Return when each loop last stamped itself. Distribution waits for Redis as long as Redis wants."""
        if not self._is_holding:
            return []
        waits_for_redis = self._link.outage.lasts or self._link.refused
        fanouts = [] if waits_for_redis else [fanout.stamped_at for fanout in self._fanouts]
        return [*(lane.intake.stamped_at for lane in self._lanes), *fanouts]
