"""Say which lane of an endpoint probes it: one at a time, and in turn."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from app.delivery.breaker import Breaker, State


class Candidate(Protocol):
    """Stands for the prober of one lane."""

    def holds(self) -> bool:
        """Tell whether its lane has a lease."""

    def wake(self) -> None:
        """Have it look whether it may probe."""


class Probing:
    """Gives the lanes of an endpoint, one for each source, their turns while the breaker is not closed.

    One that finds no CDR for so long (seconds) loses its turn: its Redis may be away, and that of others is not.
    """

    def __init__(self, breaker: Breaker, patience: float) -> None:
        self._breaker, self._patience = breaker, patience
        self._candidates: deque[Candidate] = deque()
        self._prober: Candidate | None = None
        self._attempts = False
        self._since = 0.0
        self._idle: set[Candidate] = set()

    def join(self, candidate: Candidate) -> None:
        self._candidates.append(candidate)

    def leave(self, candidate: Candidate) -> None:
        self._candidates.remove(candidate)
        self._idle.discard(candidate)

    def wait(self, candidate: Candidate) -> float:
        """Return the seconds until it may be its turn; 0: now."""
        if self._prober:
            late = time.monotonic() - self._since - self._patience
            return 1.0 if self._attempts else max(0.0, -late)
        first = next((one for one in self._candidates if one.holds()), candidate)
        return 0.0 if first is candidate else 1.0

    @contextmanager
    def turn(self, candidate: Candidate) -> Iterator[None]:
        """Stand around a probe, from before its CDR is claimed until it has ended, however it ends."""
        self._prober, self._attempts, self._since = candidate, False, time.monotonic()
        self._breaker.begin_probe()
        try:
            yield
        finally:
            if self.is_turn_of(candidate):
                self._end(candidate)

    def is_turn_of(self, candidate: Candidate) -> bool:
        return self._prober is candidate

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Stand around an attempt: meanwhile nobody else takes the turn."""
        self._attempts = True
        self._idle.clear()
        try:
            yield
        finally:
            self._attempts, self._since = False, time.monotonic()

    def _end(self, candidate: Candidate) -> None:
        self._prober = None
        if candidate in self._candidates:
            self._candidates.remove(candidate)
            self._candidates.append(candidate)
        if self._breaker.state is State.HALF_OPEN:  # it had nothing to probe with
            self._idle.add(candidate)
            if all(one in self._idle for one in self._candidates if one.holds()):
                self._idle.clear()
                self._breaker.look_again()
            else:
                self._breaker.pass_on()
        for other in self._candidates:
            if other is not candidate:
                other.wake()
