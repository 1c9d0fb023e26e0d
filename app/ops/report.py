"""Hold what a process reports of itself in Redis, and read what any process has reported."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final, Self

MOST_BYTES: Final = 64 * 1024
"""Size of one report. Endpoints that do not fit are left out."""

MOST_TEXT: Final = 128
MOST_COUNTS: Final = 32
LARGEST: Final = 2**63


@dataclass(frozen=True)
class EndpointReport:
    """Describes one endpoint as one process sees it. None and '' mean that there is nothing to say."""

    breaker: str = ""
    """closed, open or half-open."""
    gone: bool = False
    """The breaker is open because every answer was 410."""
    failing_since: datetime | None = None
    """The first failure of an outage that lasts."""
    failing_with: str = ""
    """How an attempt failed last: a status, or a kind of failure."""
    hold_until: datetime | None = None
    next_probe_at: datetime | None = None
    last_result: str = ""
    last_status: int | None = None
    last_attempt_at: datetime | None = None
    certificate_ends: datetime | None = None
    """Of the certificate that was verified last."""
    in_flight: int = 0
    prefetched: int = 0
    claimed: int = 0
    delivered: int = 0
    deferred: int = 0
    dead_lettered: Mapping[str, int] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
            for name, value in values.items()
        }

    @classmethod
    def read(cls, stored: Any) -> Self:
        """Return what was reported; nothing for whatever cannot be read."""
        if not isinstance(stored, dict):
            return cls()
        return cls(**{one.name: READERS[one.type](stored.get(one.name)) for one in fields(cls)})


@dataclass(frozen=True)
class Report:
    """Describes one process. `id`: the one of its owner value; `at`: when it was written, by the clock of its host."""

    id: str = ""
    version: str = ""
    host: str = ""
    started_at: datetime | None = None
    at: datetime | None = None
    endpoints: Mapping[str, EndpointReport] = field(default_factory=dict)

    def to_json(self, most: int = MOST_BYTES) -> bytes:
        """Return at most so many bytes."""
        parts = {
            "id": self.id,
            "version": self.version,
            "host": self.host,
            "started_at": self.started_at and self.started_at.isoformat(timespec="seconds"),
            "at": self.at and self.at.isoformat(timespec="seconds"),
        }
        kept: dict[str, Any] = {}
        # `status` reads the reports of up to 64 slots, so that none of them may be large.
        room = most - len(json.dumps(parts | {"endpoints": {}, "left_out": len(self.endpoints)}))
        for name, endpoint in self.endpoints.items():
            room -= len(json.dumps({name: endpoint.parts}))
            if room < 0:
                break
            kept[name] = endpoint.parts
        return json.dumps(parts | {"endpoints": kept, "left_out": len(self.endpoints) - len(kept)}).encode()

    @classmethod
    def read(cls, value: bytes) -> Self:
        """Return what was reported; nothing for whatever cannot be read."""
        with suppress(ValueError, RecursionError):
            stored = json.loads(value)
            if isinstance(stored, dict):
                named = stored.get("endpoints")
                endpoints = named.items() if isinstance(named, dict) else ()
                return cls(
                    id=_text(stored.get("id")),
                    version=_text(stored.get("version")),
                    host=_text(stored.get("host")),
                    started_at=_time(stored.get("started_at")),
                    at=_time(stored.get("at")),
                    endpoints={name: EndpointReport.read(each) for name, each in endpoints},
                )
        return cls()


def _text(value: Any) -> str:
    return value[:MOST_TEXT] if isinstance(value, str) else ""


def _whole(value: Any) -> int:
    return value if type(value) is int and 0 <= value < LARGEST else 0


def _counts(value: Any) -> dict[str, int]:
    items = list(value.items())[:MOST_COUNTS] if isinstance(value, dict) else ()
    return {_text(name): _whole(number) for name, number in items}


def _time(value: Any) -> datetime | None:
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(_text(value)).astimezone(UTC)
    return None


READERS: Final[dict[Any, Callable[[Any], Any]]] = {
    str: _text,
    bool: lambda value: value is True,
    int: _whole,
    int | None: lambda value: _whole(value) or None,
    datetime | None: _time,
    Mapping[str, int]: _counts,
}
"""How a field of each type is read."""
