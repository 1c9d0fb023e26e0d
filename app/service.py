"""Start a process, hold a slot while it lasts, and stop."""

import asyncio
import signal
from contextlib import suppress
from importlib.metadata import version
from typing import Final

from app.config.settings import Settings
from app.config.timings import Timings
from app.dead_letters.retention import drop_expired
from app.errors import FencedError, ForwarderError
from app.parts import Parts
from app.store.keys import Slot
from app.store.leftovers import report
from app.store.meaning import FOREIGN_ERRORS
from app.store.preflight import preflight
from app.telemetry import process_events

STOPPED_AS_ASKED: Final = 0
CUT_OFF: Final = 3

FAREWELL: Final = 1.0
"""Seconds that giving the lease back may take."""


class Service:
    """Runs one process: its link to Redis, its slot, and its lanes."""

    def __init__(self, settings: Settings, timings: Timings | None = None) -> None:
        self.parts = Parts(settings, timings or Timings())
        self._settings = settings
        # No deadline until a stop, which sets it to the end of the grace.
        self._deadline: asyncio.Timeout = asyncio.timeout(None)
        self._is_holding = False

    async def run(self) -> int:
        """Forward until a signal; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        settings = self._settings
        urls = {one.name: one.shown_url for one in settings.endpoints}
        process_events.service_started(version("cdr-forwarder"), settings.integrator, self.parts.source.key, urls)
        self._warn()
        if self.parts.notifier:
            self.parts.notifier.start()
        try:
            async with self._deadline, self.parts.operator_server(self._heartbeats):
                await self._forward()
        except TimeoutError:
            if not self._deadline.expired():
                raise
        finally:
            await self._close()
        return self._exit_status()

    def _warn(self) -> None:
        """Warn of settings that somebody may have forgotten."""
        for endpoint in self._settings.endpoints:
            if not endpoint.tls_verify:
                process_events.endpoint_unverified(endpoint.name)
            if endpoint.shows_secrets or endpoint.shows_client_secret:
                process_events.endpoint_unencrypted(endpoint.name)

    def stop(self) -> None:
        """Stop claiming and let what is on the wire finish, within the grace; a second signal ends the grace."""
        stopping = self.parts.stopping
        # Before the first slot is held, no attempt can be running: there is nothing to wait for.
        impatient = stopping.is_set() or not self.parts.lanes
        grace = 0.0 if impatient else self._settings.shutdown_grace
        stopping.set()
        process_events.service_stopping(grace)
        with suppress(RuntimeError):  # the deadline is over, and only `_close` still runs
            self._deadline.reschedule(asyncio.get_running_loop().time() + grace)

    async def _forward(self) -> None:
        parts = self.parts
        await preflight(parts.link, f"{parts.topology.scratch}:{parts.process_id}")
        await report(parts.link, parts.topology)
        while not parts.stopping.is_set():
            slot = await parts.lease.take()
            await self._hold(slot)

    async def _hold(self, slot: Slot) -> None:
        """Run the lanes until a stop, or while the slot is ours."""
        parts = self.parts
        forwarding = parts.forwarding(slot)
        self._is_holding = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._unblock_at_stop())
                beside = [
                    tasks.create_task(parts.lease.keep()),
                    tasks.create_task(parts.link.watch_master()),
                    tasks.create_task(parts.neighbours.run()),
                    tasks.create_task(parts.sampler.run(slot.number)),
                    tasks.create_task(parts.reporter.run(slot)),
                    tasks.create_task(parts.work.run()),
                    tasks.create_task(drop_expired(parts.link, parts.topology, self._settings.dead_letter_max_age)),
                ]
                async with asyncio.TaskGroup() as lanes:
                    for work in forwarding:
                        lanes.create_task(work)
                # These never end by themselves. Once the lanes have ended, nothing needs them.
                for task in beside:
                    task.cancel()
        except* FencedError:
            pass  # its new owner delivers what they held; raised from here it would be a group, before Python 3.11.4
        finally:
            self._is_holding = False
            await parts.link.close_channels()

    async def _unblock_at_stop(self) -> None:
        await self.parts.stopping.wait()
        with suppress(*FOREIGN_ERRORS):  # without it, the waiting claim ends by itself a little later
            await self.parts.link.unblock()

    async def _close(self) -> None:
        # The lease first, so that others can take the list over while connections are still being closed.
        with suppress(ForwarderError, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self.parts.lease.release()
        for endpoint in self.parts.endpoints:
            endpoint.refusals.close()
        if self.parts.notifier:
            await self.parts.notifier.aclose()
        for endpoint in self.parts.endpoints:
            await endpoint.attempt.aclose()
        await self.parts.link.aclose()
        if self.parts.delivery_log:
            self.parts.delivery_log.close()

    def _exit_status(self) -> int:
        cut_off = sum(loops.lane.in_flight.number for loops in self.parts.lanes)
        if cut_off:
            process_events.grace_exceeded(cut_off)
        return CUT_OFF if cut_off else STOPPED_AS_ASKED

    def _heartbeats(self) -> list[float]:
        """Return when each loop last gave its heartbeat. Distribution waits for Redis as long as Redis wants."""
        if not self._is_holding:
            return []
        parts = self.parts
        waits_for_redis = parts.link.outage.lasts or parts.link.refused
        distributions = [] if waits_for_redis else [one.heartbeat_at for one in parts.distributions]
        return [*(loops.claimer.heartbeat_at for loops in parts.lanes), *distributions]
