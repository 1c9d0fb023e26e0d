"""Write a line for each CDR that is delivered or becomes a dead letter, to standard output."""

import json
import time
from datetime import UTC, datetime
from typing import Literal

from app.cdr import Cdr
from app.telemetry import events
from app.telemetry.log_queue import LogQueue
from app.telemetry.named_fields import named_fields
from app.telemetry.outages import Reminder

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
        line: dict[str, object] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": "delivery",
            "outcome": outcome,
            "webhook_id": cdr.webhook_id,
            "source": source,
            "endpoint": endpoint,
            "status": status,
            "result": result,
            "attempts": attempts,
            "milliseconds": round((time.monotonic() - cdr.claimed_at) * 1000, 1),
        }
        if self._paths:
            line["fields"] = named_fields(cdr.body, self._paths)
        self._queue.put(f"{json.dumps(line)}\n")
        if self._queue.dropped > self._dropped and self._reminder.is_due():
            self._tell()

    def close(self) -> None:
        """Tell of dropped lines that were not told yet."""
        if self._queue.dropped > self._dropped:
            self._tell()

    def _tell(self) -> None:
        number = self._queue.dropped - self._dropped
        self._dropped += number
        events.delivery_lines_dropped(number)
