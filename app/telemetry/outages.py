"""Tell of what lasts: one line when it begins, one when it ends."""

import time
from typing import Any, Final, Literal, Protocol

import structlog
from structlog.typing import FilteringBoundLogger

from app.telemetry.log import LEVELS

Level = Literal["warning", "error"]

NEVER: Final = float("inf")

log: FilteringBoundLogger = structlog.get_logger()


class Reminder:
    """Says when an error that lasts is to be told: at once, when it changes, and again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._told_at = -NEVER
        self._about: Any = None

    def is_due(self, about: Any = None) -> bool:
        """Return whether it is to be told now; then it counts as told."""
        now = time.monotonic()
        if about == self._about and now - self._told_at < self._seconds:
            return False
        self._told_at, self._about = now, about
        return True


class Listener(Protocol):
    """Is told, besides the log, when an outage begins and ends."""

    def lost(self, error: str, advice: str = "") -> None: ...
    def back(self) -> None: ...


class Outage:
    """Writes two lines: the start with the reason, and the end with how long it lasted.

    `reminder`: seconds after which an outage that needs a person is told again.
    """

    listener: Listener | None = None

    def __init__(self, start: str, end: str, level: Level = "warning", reminder: float = NEVER, **fields: str) -> None:
        self._log = log.bind(**fields)
        self._names = (start, end)
        self._reminder = reminder
        self._since: float | None = None
        self._told_at = 0.0
        self.level = level
        self.reason = ""

    def begin(self, error: str, level: Level | None = None, **more: str) -> None:
        """Tell it, if it is new or due again. `more`: what only the first line says."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self.reason = error
            self.level = level or self.level
            if self.listener:
                self.listener.lost(error, more.get("advice", ""))
        # A warning recovers by itself: once is enough. An error is repeated until somebody acts.
        elif self.level != "error" or now - self._told_at < self._reminder:
            return
        self._tell(**more)

    def worsen(self, error: str, **more: str) -> None:
        """Tell again, as an error, that it lasts: what seemed to recover by itself needs a person."""
        self.reason, self.level = error, "error"
        self._tell(**more)

    @property
    def lasts(self) -> bool:
        return self._since is not None

    @property
    def seconds(self) -> float:
        """Return how long it has lasted; 0 where there is none."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def end(self, **fields: int) -> None:
        if self._since is not None:
            # The advice was for the time before.
            self._log.try_unbind("advice").info(self._names[1], after=round(self.seconds, 3), **fields)
            self._since = None
            if self.listener:
                self.listener.back()

    def _tell(self, **more: str) -> None:
        self._told_at = time.monotonic()
        self._log.log(LEVELS[self.level], self._names[0], error=self.reason, **more)


def redis_outage(source: str, place: str) -> Outage:
    return Outage("redis.lost", "redis.back", source=source, place=place)


def notice_outage(place: str) -> Outage:
    return Outage("notices.lost", "notices.back", place=place, advice="deliveries are not affected")


def endpoint_outage(endpoint: str, place: str) -> Outage:
    return Outage("endpoint.lost", "endpoint.back", endpoint=endpoint, place=place)


def refused(level: Level, reminder: float, **fields: str) -> Outage:
    return Outage("redis.refused", "redis.accepted", level, reminder, **fields)
