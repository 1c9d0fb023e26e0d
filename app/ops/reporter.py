"""Report to Redis what this process knows about its endpoints, for `status` and for other processes."""

import asyncio
import math
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Final

from app.lane.lane_loops import LaneLoops
from app.ops.report import EndpointReport, Report
from app.store.client import Link
from app.store.keys import Slot
from app.store.lease import RENEWALS_PER_LEASE, Lease
from app.store.optional import optional

LEASES: Final = 3
"""A report lives this many leases, so that it is still there after a crash."""


@dataclass(frozen=True)
class Identity:
    """Holds what does not change while a process lives."""

    version: str = field(default_factory=lambda: version("cdr-forwarder"))
    host: str = field(default_factory=socket.gethostname)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Reporter:
    """Rewrites the report as often as the lease is renewed. Nothing depends on it, so no failure of it is told."""

    def __init__(self, link: Link, lease: Lease, running: Callable[[], Sequence[LaneLoops]]) -> None:
        self._link, self._lease, self._running = link, lease, running
        self._script = link.script("report")
        self._identity = Identity()

    async def run(self, slot: Slot) -> None:
        """Go on until cancelled."""
        while True:
            report = self.report().to_json()
            await optional(
                lambda: self._script(
                    keys=[slot.report, slot.owner],
                    # A process that has lost its slot must not overwrite the report of the next one.
                    args=[self._lease.value, report, LEASES * self._lease.lease_ms],  # noqa: B023 - called at once
                )
            )
            await asyncio.sleep(self._lease.seconds / RENEWALS_PER_LEASE)

    def report(self) -> Report:
        """Return what this process says of itself now."""
        identity, now = self._identity, datetime.now(UTC)
        return Report(
            id=self._lease.owner.id,
            version=identity.version,
            host=identity.host,
            started_at=identity.started_at,
            at=now,
            endpoints={loops.endpoint.name: endpoint_report(loops, now) for loops in self._running()},
        )


def endpoint_report(loops: LaneLoops, now: datetime) -> EndpointReport:
    """Return one endpoint as this process sees it now. No secret, no text of others, and nothing of a CDR."""
    gate, outage, metrics = loops.lane.gate, loops.endpoint.outage, loops.lane.metrics
    return EndpointReport(
        breaker=gate.breaker.state.value,
        gone=gate.breaker.is_gone,
        failing_since=now - timedelta(seconds=outage.seconds) if outage.told.lasts else None,
        failing_with=metrics.last_failure,
        hold_until=now + timedelta(seconds=gate.held_for) if gate.held_for else None,
        next_probe_at=None if gate.breaker.is_closed else _ahead(gate.breaker.probe_at, now),
        last_result=metrics.last_result,
        last_status=metrics.last_status,
        last_attempt_at=datetime.fromtimestamp(metrics.last_attempt_at, UTC) if metrics.last_attempt_at else None,
        certificate_ends=loops.endpoint.certificate.ends,
        in_flight=loops.lane.in_flight.number,
        prefetched=len(loops.lane.inbox),
        claimed=metrics.claimed,
        delivered=metrics.delivered,
        deferred=metrics.deferred,
        dead_lettered=dict(metrics.dead_lettered),
        attempts=dict(metrics.attempts),
    )


def _ahead(moment: float, now: datetime) -> datetime | None:
    """Return when a moment of the monotonic clock comes; None where it has come, or never does."""
    seconds = moment - time.monotonic()
    return now + timedelta(seconds=seconds) if 0 < seconds < math.inf else None
