"""Tells what the operator server refused, and how it failed: a line a minute at most, however many requests come."""

import logging
import time
from collections import Counter

from app.telemetry import events


class Complaints:
    """Tells the first of a kind at once, and sums up the others."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._refused: Counter[str] = Counter()
        self._refused_at = self._failed_at = float("-inf")
        self._failed = 0
        self.logger = logging.Logger("operator server", logging.ERROR)  # noqa: LOG001 - nobody else shall configure it
        """Where uvicorn reports what our code raised."""
        self.logger.addHandler(_Failures(self))

    def refused(self, reason: str) -> None:
        """Count a request or a connection that was refused."""
        self._refused[reason] += 1
        if time.monotonic() - self._refused_at >= self._pause:
            self.tell()

    def failed(self, record: logging.LogRecord) -> None:
        """Count a request that our own code could not answer; show where the first of them failed."""
        self._failed += 1
        if time.monotonic() - self._failed_at >= self._pause:
            events.operator_server_failed(self._failed, record.exc_info)
            self._failed, self._failed_at = 0, time.monotonic()

    def tell(self) -> None:
        """Tell what was counted since it was told last."""
        if self._refused:
            events.operator_server_refused(self._refused.total(), dict(self._refused))
            self._refused.clear()
            self._refused_at = time.monotonic()


class _Failures(logging.Handler):
    def __init__(self, complaints: Complaints) -> None:
        super().__init__()
        self._complaints = complaints

    def emit(self, record: logging.LogRecord) -> None:
        self._complaints.failed(record)
