"""Know when the certificate of an endpoint ends, from the handshakes of its attempts."""

from datetime import UTC, datetime, timedelta
from typing import Final

from app.telemetry import events
from app.telemetry.outages import Reminder

SOON: Final = timedelta(days=21)
"""A certificate that ends within this time should have been renewed."""

REMINDER: Final = 86_400.0
"""Seconds between two events about one certificate."""


class Certificate:
    """Remembers the end of the one that was verified last, and tells once a day if that is soon."""

    def __init__(self, endpoint: str) -> None:
        self.ends: datetime | None = None
        self._endpoint = endpoint
        self._reminder = Reminder(REMINDER)

    def note(self, ends: float) -> None:
        """Take note of a handshake. `ends`: Unix seconds."""
        self.ends = datetime.fromtimestamp(ends, UTC)
        if ends_soon(self.ends, datetime.now(UTC)) and self._reminder.is_due():
            events.certificate_ends(self._endpoint, self.ends)


def ends_soon(ends: datetime | None, now: datetime) -> bool:
    return ends is not None and ends - now < SOON
