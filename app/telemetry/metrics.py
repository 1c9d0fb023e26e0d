"""Count what happens in each lane."""

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Seconds: upper bounds of the buckets. The last ones are for CDRs that were deferred before they were accepted."""

EVERYBODY: Final = "all"
"""Stands in place of an endpoint for CDRs that are not distributed yet."""

SUCCESS: Final = "success"
"""The result of an attempt that was answered 2xx."""

Origin = Literal["own", "orphan"]
"""Of a CDR that was found in processing: our own list, or that of a process that is gone."""


class Durations:
    """Counts how many took how long. `counts` has one more than there are bounds, for all that took longer."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


@dataclass(eq=False)
class LaneMetrics:
    """Counts for one endpoint since the process began. Plain numbers cost next to nothing."""

    endpoint: str
    claimed: int = 0
    delivered: int = 0
    acks_lost: int = 0
    deferred: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    dead_lettered: Counter[str] = field(default_factory=Counter)
    recovered: Counter[Origin] = field(default_factory=Counter)
    attempt_durations: Durations = field(default_factory=Durations)
    delivery_durations: Durations = field(default_factory=Durations)
    last_delivery_at: float | None = None
    """Unix seconds."""
    last_attempt_at: float | None = None
    """Unix seconds."""
    last_result: str = ""
    last_status: int | None = None
    last_failure: str = ""
    """The status of the last attempt that failed, or the kind of its failure."""

    def attempted(self, result: str, seconds: float, status: int | None = None) -> None:
        self.attempts[result] += 1
        self.attempt_durations.observe(seconds)
        self.last_attempt_at, self.last_result, self.last_status = time.time(), result, status
        if result != SUCCESS:
            self.last_failure = str(status or result)

    @property
    def failed(self) -> int:
        """Return how many attempts failed."""
        return self.attempts.total() - self.attempts[SUCCESS]

    def were_delivered(self, number: int) -> None:
        self.delivered += number
        self.last_delivery_at = time.time()
