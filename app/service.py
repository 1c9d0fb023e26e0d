"""Start a process, read all its sources, and stop."""

import asyncio
import signal
from contextlib import suppress
from importlib.metadata import version
from typing import Final

from app.config.settings import Settings
from app.config.timings import Timings
from app.parts import Parts
from app.reading import Reading
from app.telemetry import process_events

STOPPED_AS_ASKED: Final = 0
CUT_OFF: Final = 3


class Service:
    """Runs one process: its endpoints, and a reading of each source."""

    def __init__(self, settings: Settings, timings: Timings | None = None) -> None:
        self.parts = Parts(settings, timings or Timings())
        self._settings = settings
        # No deadline until a stop, which sets it to the end of the grace.
        self._deadline: asyncio.Timeout = asyncio.timeout(None)
        stopping, process_id = self.parts.stopping, self.parts.process_id
        self._readings = [Reading(one, settings, stopping, process_id) for one in self.parts.sources]
        self._tasks: dict[Reading, asyncio.Task[None]] = {}

    async def run(self) -> int:
        """Forward until a signal; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        settings = self._settings
        urls = {one.name: one.shown_url for one in settings.endpoints}
        lists = {one.name: one.key for one in settings.sources}
        process_events.service_started(version("cdr-forwarder"), settings.integrator, lists, urls)
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
        if idle := self._settings.idle_endpoints:
            process_events.endpoints_idle(idle)
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
        for reading, task in self._tasks.items():
            if not reading.is_holding:  # its Redis is away, or refuses us: nothing of it is on the wire
                task.cancel()
        with suppress(RuntimeError):  # the deadline is over, and only `_close` still runs
            self._deadline.reschedule(asyncio.get_running_loop().time() + grace)

    async def _forward(self) -> None:
        if len(self._readings) == 1:
            return await self._readings[0].run()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = {reading: tasks.create_task(reading.persist()) for reading in self._readings}
        return None

    async def _close(self) -> None:
        await asyncio.gather(*(reading.close() for reading in self._readings))
        for endpoint in self.parts.endpoints.values():
            endpoint.refusals.close()
        if self.parts.notifier:
            await self.parts.notifier.aclose()
        for endpoint in self.parts.endpoints.values():
            await endpoint.attempt.aclose()
        for source in self.parts.sources:
            await source.link.aclose()
        if self.parts.delivery_log:
            self.parts.delivery_log.close()

    def _exit_status(self) -> int:
        cut_off = sum(loops.lane.in_flight.number for loops in self.parts.lanes)
        if cut_off:
            process_events.grace_exceeded(cut_off)
        return CUT_OFF if cut_off else STOPPED_AS_ASKED

    def _heartbeats(self) -> list[float]:
        return [heartbeat for reading in self._readings for heartbeat in reading.heartbeats()]
