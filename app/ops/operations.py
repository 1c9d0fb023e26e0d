"""Tell and count what operators do: on the page of this process, and by commands on any host."""

import asyncio
from collections import Counter

from app.config.timings import Timings
from app.store.operations import Operation, Operations
from app.telemetry import operator_events


class OperatorWork:
    """Counts by endpoint, for one source.

    A command leaves word in Redis; the process that takes it tells and counts it.
    """

    def __init__(self, operations: Operations, timings: Timings) -> None:
        self._operations, self._timings = operations, timings
        self.replayed: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.injected = 0

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            for operation in await self._operations.take():
                self.note(operation)
            await asyncio.sleep(self._timings.sample)

    def note(self, done: Operation) -> None:
        """Tell and count it."""
        source = self._operations.source
        match done.action:
            case "replay":
                self.replayed[done.endpoint] += done.number
                operator_events.dead_letters_replayed(source, done.endpoint, done.number, done.by, done.to)
            case "drop":
                self.dropped[done.endpoint] += done.number
                operator_events.dead_letters_dropped(source, done.endpoint, done.number, done.by)
            case "inject":
                self.injected += done.number
                operator_events.cdrs_injected(source, done.number, done.by)
            case "reroute":
                operator_events.cdrs_rerouted(source, done.endpoint, done.to, done.number, done.by)
