"""Tell of what lasts: one line when it begins, one when it ends."""

import time
from typing import Final, Literal

import structlog
from structlog.typing import FilteringBoundLogger

from app.telemetry.log import LEVELS

Level = Literal["warning", "error"]

REPEATED: Final = 600.0
"""Seconds after which an error that lasts is told again."""

log: FilteringBoundLogger = structlog.get_logger()


class Outage:
    """Writes two lines: the start with the reason, and the end with how long it lasted.

    An outage that needs a person is told again every ten minutes.
    """

    def __init__(self, start: str, end: str, level: Level = "warning", **fields: str) -> None:
        self._log = log.bind(**fields)
        self._names = (start, end)
        self._level = level
        self._since: float | None = None
        self._told_at = 0.0
        self.reason = ""

    def begin(self, error: str, level: Level | None = None) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self.reason = error
            self._level = level or self._level
        # A warning recovers by itself: once is enough. An error is repeated until somebody acts.
        elif self._level != "error" or now - self._told_at < REPEATED:
            return
        self._told_at = now
        self._log.log(LEVELS[self._level], self._names[0], error=self.reason)

    @property
    def lasts(self) -> bool:
        return self._since is not None

    @property
    def seconds(self) -> float:
        """Return how long it has lasted; 0 where there is none."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def end(self, **fields: int) -> None:
        if self._since is not None:
            self._log.info(self._names[1], after=round(time.monotonic() - self._since, 3), **fields)
            self._since = None


def redis_outage() -> Outage:
    return Outage("redis.lost", "redis.back")


def endpoint_outage(endpoint: str, place: str) -> Outage:
    return Outage("endpoint.lost", "endpoint.back", endpoint=endpoint, place=place)


def refused_command(command: str, *, needs_person: bool) -> Outage:
    level: Level = "error" if needs_person else "warning"
    return Outage("redis.refused", "redis.accepted", level, command=command)
