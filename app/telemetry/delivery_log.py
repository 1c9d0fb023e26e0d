"""Write a line for each CDR that is delivered or becomes a dead letter, to standard output."""

import asyncio
import json
import time
from typing import Final, Literal

from app.cdr import Cdr
from app.telemetry import events
from app.telemetry.log_queue import LogQueue
from app.telemetry.named_fields import named_fields
from app.telemetry.outages import Reminder

MOST_AT_ONCE: Final = 256
FAREWELL: Final = 0.5
"""Seconds that the last lines may take to be written, before what was dropped is told."""

Outcome = Literal["delivered", "rejected", "gave_up"]


class DeliveryLog:
    """Answers whether a call was delivered, when, to whom, and with what answer. It never waits, and never raises.

    `paths` name the fields of a CDR that go into its line. `pause`: seconds between two warnings of dropped lines.
    """

    def __init__(self, queue: LogQueue, paths: tuple[str, ...], pause: float) -> None:
        self._queue = queue
        self._paths = paths
        self._reminder = Reminder(pause)
        self._dropped = queue.dropped
        self._lines: list[str] = []
        self._clock = _Clock()

    def note(  # noqa: PLR0913 - what a line says
        self,
        cdr: Cdr,
        *,
        source: str,
        endpoint: str,
        outcome: Outcome,
        status: int | None,
        result: str,
        attempts: int,
    ) -> None:
        """Write the line of a CDR that Redis has settled. `result`: success, or the kind of the failure."""
        milliseconds = (time.monotonic() - cdr.claimed_at) * 1000
        fields = f', "fields": {json.dumps(named_fields(cdr.body, self._paths))}' if self._paths else ""
        # No name in it needs an escape. json.dumps of all of it would double what a line costs.
        self._lines.append(
            f'{{"timestamp": "{self._clock.now()}", "event": "delivery", "outcome": "{outcome}", '
            f'"webhook_id": "{cdr.webhook_id}", "source": "{source}", "endpoint": "{endpoint}", '
            f'"status": {"null" if status is None else status}, "result": "{result}", "attempts": {attempts}, '
            f'"milliseconds": {milliseconds:.1f}{fields}}}\n'
        )
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_soon(self._put)
        elif len(self._lines) >= MOST_AT_ONCE:
            self._put()

    def close(self) -> None:
        """Write what is left, and tell of dropped lines that were not told yet."""
        self._put()
        self._queue.flush(FAREWELL)
        if self._queue.dropped > self._dropped:
            self._tell()

    def _put(self) -> None:
        """Pass on the lines of one reply of Redis, which settles many CDRs, together."""
        if self._lines:
            self._queue.put("".join(self._lines))
            self._lines.clear()
        if self._queue.dropped > self._dropped and self._reminder.is_due():
            self._tell()

    def _tell(self) -> None:
        number = self._queue.dropped - self._dropped
        self._dropped += number
        events.delivery_lines_dropped(number)


class _Clock:
    """Writes the time in UTC as ISO 8601 with milliseconds, and most of it only once a second."""

    def __init__(self) -> None:
        self._second, self._written = 0, ""

    def now(self) -> str:
        second, rest = divmod(time.time_ns() // 1_000_000, 1000)
        if second != self._second:
            self._second, self._written = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._written}.{rest:03}Z"
