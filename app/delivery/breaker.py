"""Tell when an endpoint is down, and when it is probed."""

import time
from dataclasses import dataclass, field
from enum import Enum

from app.config.timings import Timings
from app.delivery.verdict import GONE, Verdict


class State(Enum):
    """Says which attempts are made. Closed: all. Open: none is. Half-open: one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass
class Breaker:
    """Stops attempts at an endpoint that is down. `threshold`: failures in a row, of different CDRs, that open it."""

    threshold: int
    timings: Timings
    state: State = State.CLOSED
    is_gone: bool = False
    """Open because every answer of the row was 410."""
    probe_at: float = 0.0
    """When the next probe is due, on the monotonic clock."""

    _failed: dict[str, int | None] = field(default_factory=dict)
    _success_at: float = -1.0
    _pause: float = 0.0

    @property
    def is_closed(self) -> bool:
        return self.state is State.CLOSED

    def record_success(self) -> None:
        """Close: the endpoint has answered 2xx."""
        self._success_at = time.monotonic()
        self._failed.clear()
        self.state, self.is_gone = State.CLOSED, False

    def record_failure(self, webhook_id: str, began: float, verdict: Verdict) -> None:
        """Count a failure that says nothing about the CDR, of an attempt that began at `began` (monotonic)."""
        if not self.is_closed or began <= self._success_at:
            return  # an attempt from before the last 2xx says nothing of now
        self._failed[webhook_id] = verdict.status
        if len(self._failed) >= self.threshold:
            self.state = State.OPEN
            self.is_gone = set(self._failed.values()) == {GONE}
            self._failed.clear()
            self._wait(self.timings.gone_probe if self.is_gone else self.timings.first_probe)

    def begin_probe(self) -> None:
        self.state = State.HALF_OPEN

    def end_probe(self, *, stays: bool, gone: bool = False) -> None:
        """Wait for the next probe, unless one was accepted: twice as long as before, unless it `stays`.

        `gone`: the answer was 410 again; any other one says that the endpoint is not gone.
        """
        if self.is_closed:
            return
        self.state = State.OPEN
        self.is_gone = self.is_gone and gone
        if self.is_gone:
            self._wait(self.timings.gone_probe)
        elif stays:
            self._wait(self.timings.first_probe)
        else:
            self._wait(min(2 * self._pause, self.timings.longest_probe))

    def look_again(self) -> None:
        """Look again in a while, since there was nothing to probe with, unless a late 2xx has closed it."""
        if self.is_closed:
            return
        self.state = State.OPEN
        self.probe_at = time.monotonic() + self.timings.first_probe

    def pass_on(self) -> None:
        """Let another lane probe: one had nothing to probe with."""
        if not self.is_closed:
            self.state = State.OPEN

    def probe_now(self) -> None:
        """Probe at once, because an operator asks for it."""
        self.probe_at = 0.0

    @property
    def awaits_probe(self) -> bool:
        """Tell whether a probe that was asked for has not ended yet."""
        return not self.is_closed and not self.probe_at

    def _wait(self, pause: float) -> None:
        self._pause = pause
        self.probe_at = time.monotonic() + pause
