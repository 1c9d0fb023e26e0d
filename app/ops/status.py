"""Hold what `status` shows of a running system."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from app.ops.report import EndpointReport, Report
from app.ops.words import Condition, Waiting
from app.store.minutes import Minute

DISTRIBUTED: Final = "(all)"
"""In place of an endpoint: what is on its way to every lane."""

NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Deferred:
    """Counts what waits for another try. `handed_out`: those of them that a process has now."""

    number: int
    handed_out: int
    next_due: datetime | None


@dataclass(frozen=True)
class LaneStatus:
    """Describes one lane. `processing`: how many, by slot. `pending`: None where CDRs are only distributed."""

    endpoint: str
    source: str
    condition: Condition | None
    reports: Sequence[EndpointReport]
    """One of each process that has it."""
    counted: Waiting
    pending: int | None
    processing: dict[int, int]
    dead: int
    deferred: Deferred
    minutes: Sequence[Minute]
    """Of the last hour, the newest first."""

    @property
    def delivered(self) -> int:
        """Return what all processes together delivered in the last hour."""
        return sum(minute.delivered for minute in self.minutes)

    @property
    def reported(self) -> EndpointReport:
        """Return the report of the process that made the last attempt."""
        tried = [report for report in self.reports if report.last_attempt_at]
        return max(tried, key=lambda report: report.last_attempt_at or NEVER, default=EndpointReport())

    @property
    def parts(self) -> dict[str, Any]:
        deferred, told = self.deferred, self.reported.parts
        return {
            "endpoint": self.endpoint,
            "source": self.source,
            "state": self.condition and self.condition.state,
            "words": self.condition and self.condition.words,
            **{name: told[name] for name in ("last_result", "last_status", "last_attempt_at")},
            "pending": self.pending,
            "processing": self.processing,
            "retry": deferred.number - deferred.handed_out,
            "retrying": deferred.handed_out,
            "next_due": deferred.next_due and deferred.next_due.isoformat(timespec="seconds"),
            "dead": self.dead,
            "delivered_last_hour": self.delivered,
            "failed_last_hour": sum(minute.failed for minute in self.minutes),
        }


@dataclass(frozen=True)
class Process:
    """Describes a live process. `lease`: seconds until it ends; `report`: what it says about itself, if anything."""

    slot: int
    host: str
    process: str
    lease: float
    source: str
    endpoints: list[str]
    report: Report

    @property
    def parts(self) -> dict[str, Any]:
        return {
            "slot": self.slot,
            "host": self.host,
            "process": self.process,
            "lease_left": round(self.lease, 3),
            "source_key": self.source,
            "version": self.report.version,
            "started_at": self.report.started_at and self.report.started_at.isoformat(),
            "reported_at": self.report.at and self.report.at.isoformat(),
            "endpoints": {name: self._of(name) for name in self.endpoints},
        }

    def _of(self, endpoint: str) -> dict[str, Any] | None:
        reported = self.report.endpoints.get(endpoint)
        return reported.parts if reported else None


@dataclass(frozen=True)
class Status:
    """Holds everything that `status` shows of one source. `place`: its Redis."""

    integrator: str
    name: str
    place: str
    source_key: str
    source: int
    lanes: list[LaneStatus]
    owners: list[Process]
    left_over: dict[str, int]
    left_over_sources: dict[str, int]
    other_clients: list[str]
    """Who else takes from the source, or may do so: a sentence each."""

    @property
    def parts(self) -> dict[str, Any]:
        """Return it as plain values, for JSON. The names are a contract."""
        return {
            "integrator": self.integrator,
            "source_key": self.source_key,
            "source_length": self.source,
            "lanes": [lane.parts for lane in self.lanes],
            "owners": [owner.parts for owner in self.owners],
            "left_over": self.left_over,
            "left_over_sources": self.left_over_sources,
            "other_clients": self.other_clients,
        }
