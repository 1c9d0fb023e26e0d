"""Read one source: hold a slot while it lasts, and run its lanes."""

import asyncio
from contextlib import suppress
from typing import Final

from app.config.settings import Settings
from app.dead_letters.retention import drop_expired
from app.errors import ConfigurationError, FencedError, ForwarderError, RedisUnusableError
from app.source_parts import SourceParts
from app.store.keys import Slot
from app.store.leftover_sources import report_sources
from app.store.leftovers import report
from app.store.meaning import FOREIGN_ERRORS
from app.store.preflight import preflight
from app.telemetry import source_events
from app.telemetry.outages import Reminder

FAREWELL: Final = 1.0
"""Seconds that giving the lease back may take."""


class Reading:
    """Reads one source until a stop. `is_holding`: while it has a slot, and attempts may run."""

    def __init__(self, parts: SourceParts, settings: Settings, stopping: asyncio.Event, process_id: str) -> None:
        self.is_holding = False
        self._parts, self._settings, self._stopping = parts, settings, stopping
        self._scratch = f"{parts.topology.scratch}:{process_id}"

    async def run(self) -> None:
        """Read it. Raises if that can never work: RedisUnusableError, ConfigurationError."""
        parts = self._parts
        await preflight(parts.link, self._scratch)
        parts.observed.unusable = False
        await self._report()
        while not self._stopping.is_set():
            slot = await parts.lease.take()
            await self._hold(slot)

    async def persist(self) -> None:
        """Read it, and try again where that cannot work: it must not stop the other sources."""
        timings = self._parts.link.timings
        reminder = Reminder(timings.reminder)
        while not self._stopping.is_set():
            try:
                await self.run()
            except (ConfigurationError, RedisUnusableError) as error:
                self._parts.observed.unusable = True
                if reminder.is_due(str(error)):
                    source_events.source_unusable(self._parts.source.name, str(error))
                await asyncio.sleep(timings.operator_pause)

    async def close(self) -> None:
        """Give the lease back, so that others can take the list over while connections are still being closed."""
        with suppress(ForwarderError, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._parts.lease.release()

    def heartbeats(self) -> list[float]:
        """Return when each loop last gave its heartbeat. Distribution waits for Redis as long as Redis wants."""
        if not self.is_holding:
            return []
        parts = self._parts
        waits_for_redis = parts.link.outage.lasts or parts.link.refused
        distributions = [] if waits_for_redis else [one.heartbeat_at for one in parts.distributions]
        return [*(loops.claimer.heartbeat_at for loops in parts.lanes), *distributions]

    async def _report(self) -> None:
        await report(self._parts.link, self._parts.topology)
        await report_sources(self._parts.link, self._settings.sources)

    async def _hold(self, slot: Slot) -> None:
        """Run the lanes until a stop, or while the slot is ours."""
        parts = self._parts
        forwarding = parts.forwarding(slot)
        self.is_holding = True
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
            self.is_holding = False
            await parts.link.close_channels()

    async def _unblock_at_stop(self) -> None:
        await self._stopping.wait()
        with suppress(*FOREIGN_ERRORS):  # without it, the waiting claim ends by itself a little later
            await self._parts.link.unblock()
