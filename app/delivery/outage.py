"""Tell people of an endpoint's outage: one line when it begins, one when it ends."""

import time
from collections.abc import Callable

from app.config.timings import Timings
from app.delivery.verdict import GONE, Verdict
from app.telemetry import events, outages
from app.telemetry.tally import Tally

NEEDS_PERSON = frozenset({401, 403, 404, 405})
"""A wrong credential or URL: it does not recover by itself."""


class Outage:
    """Begins when the breaker opens, or after a minute of failures without a 2xx, and ends with a 2xx.

    `place`: host and port; `waiting` returns how many CDRs wait for the endpoint.
    """

    def __init__(self, endpoint: str, place: str, timings: Timings, waiting: Callable[[], int]) -> None:
        self.told = outages.endpoint_outage(endpoint, place)
        self._endpoint, self._patience, self._waiting = endpoint, timings.failing, waiting
        self._failing_since = 0.0
        self._rejections = Tally(lambda number, status: events.cdrs_rejected(endpoint, number, status), timings.summary)

    @property
    def seconds(self) -> float:
        """Since the first failure of the outage that lasts; 0 where none does."""
        return time.monotonic() - self._failing_since if self.told.lasts else 0.0

    def note(self, verdict: Verdict, *, down: bool) -> None:
        """Take note of a failure. `down`: whether the breaker is not closed."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if (down or now - self._failing_since >= self._patience) and not self.told.lasts:
            level: outages.Level = "error" if verdict.status in NEEDS_PERSON or verdict.result == "tls" else "warning"
            self.told.begin(verdict.words, level)
            if verdict.status == GONE and down:
                events.endpoint_gone(self._endpoint)

    def note_rejection(self, verdict: Verdict) -> None:
        """Take note of a first rejection: it waits for a second one."""
        self._rejections.add(verdict.status)

    def end(self) -> None:
        self._failing_since = 0.0
        if self.told.lasts:
            self.told.end(waiting=self._waiting())
