"""How the parts are put together, started and stopped."""

import asyncio
import signal
from contextlib import suppress
from importlib.metadata import version
from typing import Final

from app import events
from app.adoption import Adoption
from app.breaker import Breaker
from app.delivery import Delivery
from app.endpoint import Endpoint
from app.endpoint_settings import EndpointSettings
from app.errors import FencedError, ForwarderError
from app.fanout import Fanout
from app.in_flight import InFlight
from app.intake import Intake
from app.keys import Slot
from app.lane import Lane
from app.leftovers import report
from app.link import FOREIGN_ERRORS, Link
from app.ownership import Ownership, new_process_id
from app.parking import Parking
from app.preflight import preflight
from app.queue import Queue
from app.settings import Settings
from app.sweep import Sweep
from app.values import redacted

STOPPED_AS_ASKED: Final = 0
CUT_OFF: Final = 3

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

    async def run(self) -> int:
        """Forward until a signal; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        urls = {one.name: redacted(one.url.get_secret_value()) for one in self._settings.endpoints}
        events.service_started(version("cdr-forwarder"), self._settings.integrator, self._settings.source_key, urls)
        try:
            async with self._deadline:
                await self._forward()
        except TimeoutError:
            if not self._deadline.expired():
                raise
        finally:
            await self._close()
        return self._exit_status()

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
            with suppress(FencedError):
                await self._hold(slot)

    async def _hold(self, slot: Slot) -> None:
        """Run the lanes while the slot is ours. Losing it ends them: another process delivers what they held."""
        self._lanes = [self._lane(slot, endpoint) for endpoint in self._settings.endpoints]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._unblock_at_stop())
                watching = tasks.create_task(self._link.watch_master())
                keeping = tasks.create_task(self._ownership.keep())
                async with asyncio.TaskGroup() as lanes:
                    for lane in self._lanes:
                        lanes.create_task(lane.run())
                    if self._settings.fans_out:
                        lanes.create_task(self._fanout(slot).run())
                keeping.cancel()
                watching.cancel()
        except* FencedError as lost:
            raise lost.exceptions[0] from None

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
        adoption = Adoption(self._link, queue, slot, "all", settings.lease)
        lanes = {settings.lane_keys(lane.endpoint).pending: lane.takes for lane in self._lanes}
        return Fanout(queue, self._ownership, adoption, lanes, self._stopping)

    def _lane(self, slot: Slot, endpoint: EndpointSettings) -> Lane:
        settings, name = self._settings, endpoint.name
        slot = settings.slots(name)[slot.number - 1]
        oldest = "head" if settings.fans_out else settings.source_oldest
        queue = Queue(self._link, self._ownership, slot, settings.lane_keys(name), oldest)
        in_flight = InFlight(endpoint.concurrency)
        adoption = Adoption(self._link, queue, slot, name, settings.lease)
        sweep, breaker = Sweep(settings.sweep_interval), Breaker(name, endpoint.breaker_threshold)
        intake = Intake(name, in_flight, queue, self._ownership, adoption, sweep, breaker, self._stopping)
        parking = Parking(settings.sweep_interval, settings.give_up_after, endpoint.attempts)
        delivery = Delivery(self._endpoints[name], endpoint, breaker, self._stopping)
        return Lane(name, in_flight, intake, delivery, breaker, queue, parking, self._stopping)
