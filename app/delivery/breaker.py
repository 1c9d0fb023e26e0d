"""When an endpoint is taken to be down, and how it is found to be back."""

import asyncio
import time
from typing import Final

from app.cdr import Cdr
from app.delivery.verdict import Kind, Verdict
from app.telemetry import events

GONE: Final = 410
"""The status that says: for ever."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
GONE_PAUSE: Final = 3600.0
"""Seconds before a probe: doubling from the first to the longest; and for one that has answered 410."""


class Breaker:
    """Closed while the endpoint takes CDRs. While open, nothing is claimed but single probes, until one is taken."""

    def __init__(self, endpoint: str, threshold: int) -> None:
        self._endpoint = endpoint
        self._threshold = threshold
        self.opened = asyncio.Event()
        self.probe_at = 0.0
        self._pause = FIRST_PAUSE
        self._probe: Cdr | None = None
        self._failures = 0
        self._taken_at = 0.0

    @property
    def is_open(self) -> bool:
        return self.opened.is_set()

    @property
    def probe_is_due(self) -> bool:
        return self.is_open and self._probe is None and time.monotonic() >= self.probe_at

    def admits(self, cdr: Cdr) -> bool:
        """Tell whether an attempt may be made."""
        return not self.is_open or cdr is self._probe

    def is_since_taken(self, moment: float) -> bool:
        """Tell whether it is after the last 2xx: what began before says nothing of now."""
        return moment > self._taken_at

    def probe_with(self, cdr: Cdr | None) -> None:
        """Let one CDR through; where there is none to try with, look again in a while."""
        self._probe = cdr
        self.probe_at = time.monotonic() + FIRST_PAUSE

    def taken(self) -> None:
        """Close: the endpoint has answered 2xx."""
        self._failures = 0
        self._taken_at = time.monotonic()
        self._probe = None
        self.opened.clear()

    def failed(self, cdr: Cdr, began: float, verdict: Verdict) -> None:
        """Count an attempt that began at `began`."""
        gone = verdict.status == GONE
        if gone and not self.is_open:
            events.endpoint_gone(self._endpoint)
        if cdr is self._probe:
            self._wait(GONE_PAUSE if gone else min(2 * self._pause, LONGEST_PAUSE))
        elif not self.is_open and (gone or self._is_one_too_many(cdr, began, verdict)):
            self.opened.set()
            self._wait(GONE_PAUSE if gone else FIRST_PAUSE)

    def _is_one_too_many(self, cdr: Cdr, began: float, verdict: Verdict) -> bool:
        """Tell whether this makes the row of different CDRs long enough.

        One that failed before says nothing new, unless it is rejected now, and so for the last time; nor does an
        attempt that began before the last 2xx.
        """
        is_another = cdr.attempts == 1 if cdr.failing is None else verdict.kind is Kind.REJECTED
        self._failures += is_another and self.is_since_taken(began)
        return self._failures >= self._threshold

    def _wait(self, pause: float) -> None:
        self._probe = None
        self._pause = pause
        self.probe_at = time.monotonic() + pause
