"""Tell what the operator server refused, and how it failed: at most one line a minute each."""

import logging
import time
from collections import Counter

from app.telemetry import process_events


class Complaints:
    """Tells of the first refusal and the first failure at once, and sums up later ones."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._refused: Counter[str] = Counter()
        self._refused_at = self._failed_at = float("-inf")
        self._failed = 0
        self.logger = logging.Logger("operator server", logging.ERROR)  # noqa: LOG001 - nothing else may configure it
        """Where uvicorn reports exceptions of our code."""
        self.logger.addHandler(_Failures(self))

    def refused(self, reason: str) -> None:
        """Count a request or a connection that was refused."""
        self._refused[reason] += 1
        if time.monotonic() - self._refused_at >= self._pause:
            self.tell()

    def failed(self, record: logging.LogRecord) -> None:
        """Count a request that failed in our own code; the event has the traceback of the first one."""
        self._failed += 1
        if time.monotonic() - self._failed_at >= self._pause:
            process_events.operator_server_failed(self._failed, record.exc_info)
            self._failed, self._failed_at = 0, time.monotonic()

    def tell(self) -> None:
        """Tell what was counted since the last time."""
        if self._refused:
            process_events.operator_server_refused(self._refused.total(), dict(self._refused))
            self._refused.clear()
            self._refused_at = time.monotonic()


class _Failures(logging.Handler):
    def __init__(self, complaints: Complaints) -> None:
        super().__init__()
        self._complaints = complaints

    def emit(self, record: logging.LogRecord) -> None:
        self._complaints.failed(record)
