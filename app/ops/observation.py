"""What can be seen of a process from outside: its state in words, and what that rests on."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

from app.config.settings import Settings
from app.config.values import redacted
from app.lane.loops import LaneLoops
from app.ops.sampler import Sample
from app.store.client import Link
from app.store.lease import Lease
from app.telemetry import events
from app.telemetry.metrics import LaneMetrics

STUCK_AFTER: Final = 30.0
"""Seconds without a stamp. An intake stamps itself every second in whatever it waits for."""


@dataclass(frozen=True)
class LaneView:
    """One lane as it is now."""

    loops: LaneLoops
    url: str
    sample: Sample

    @property
    def endpoint(self) -> str:
        return self.loops.lane.endpoint

    @property
    def metrics(self) -> LaneMetrics:
        return self.sample.metrics

    @property
    def in_flight(self) -> int:
        return self.loops.lane.in_flight.number

    @property
    def oldest_in_flight(self) -> float:
        """Seconds since it was claimed; 0 where none is in flight."""
        claimed_at = self.loops.lane.in_flight.oldest_claimed_at
        return time.monotonic() - claimed_at if claimed_at else 0.0

    @property
    def is_open(self) -> bool:
        return not self.loops.lane.gate.breaker.is_closed

    @property
    def waiting(self) -> int:
        """CDRs that are in Redis for it, as last seen."""
        return self.sample.lengths.waiting

    @property
    def state(self) -> str:
        if self.is_open:
            return "down"
        if self.loops.lane.gate.held_for:
            return "held"
        if self.loops.endpoint.outage.told.lasts:
            return "failing"
        return "delivering" if self.in_flight or self.sample.lengths.pending else "idle"

    @property
    def words(self) -> str:
        """Return its state as a sentence for somebody who has never seen this."""
        dead = self.sample.lengths.dead
        return f"{self._words}; {dead:,} dead letters want a decision" if dead else self._words

    @property
    def _words(self) -> str:
        match self.state:
            case "down":
                return f"down {self._outage}, {self.waiting:,} CDRs wait in Redis, next probe {self._next_probe}"
            case "held":
                seconds = self.loops.lane.gate.held_for
                return f"asked for time (Retry-After), {self.waiting:,} CDRs wait in Redis, goes on in {seconds:.0f} s"
            case "failing":
                return f"takes some and fails others {self._outage}; those that failed are tried again"
            case "delivering":
                return f"delivering, {self.in_flight} in flight, {self.sample.lengths.pending:,} pending"
            case _:
                return "idle: all is delivered, and it waits for CDRs"

    @property
    def parts(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        last = self.metrics.last_delivery_at
        return {
            "endpoint": self.endpoint,
            "url": self.url,
            "state": self.state,
            "words": self.words,
            "in_flight": self.in_flight,
            "concurrency": self.loops.endpoint.settings.concurrency,
            "prefetched": len(self.loops.lane.inbox),
            "oldest_in_flight_seconds": round(self.oldest_in_flight, 1),
            **asdict(self.sample.lengths),
            "pending_head_age_seconds": round(self.sample.head_age, 1),
            "claimed": self.metrics.claimed,
            "delivered": self.metrics.delivered,
            "attempts": dict(self.metrics.attempts),
            "dead_lettered": dict(self.metrics.dead_lettered),
            "last_delivery_at": last and datetime.fromtimestamp(last, UTC).isoformat(timespec="seconds"),
            "hour": [asdict(minute) for minute in self.sample.hour],
        }

    @property
    def _outage(self) -> str:
        outage = self.loops.endpoint.outage.told
        since = datetime.now(UTC) - timedelta(seconds=outage.seconds)
        return f"since {since:%H:%M} UTC ({outage.reason})" if outage.lasts else "since just now"

    @property
    def _next_probe(self) -> str:
        seconds = self.loops.lane.gate.breaker.probe_at - time.monotonic()
        return f"in {seconds:.0f} s" if seconds > 0 else "under way"


@dataclass
class Observation:
    """One process. `pulses`: when each of its loops last stamped itself, on the monotonic clock."""

    settings: Settings
    link: Link
    lease: Lease
    sampled: dict[str, Sample]
    running: Callable[[], Sequence[LaneLoops]]
    pulses: Callable[[], Sequence[float]]
    stopping: asyncio.Event
    version: str = field(default_factory=lambda: version("cdr-forwarder"))
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def lanes(self) -> list[LaneView]:
        urls = {one.name: redacted(one.url.get_secret_value()) for one in self.settings.endpoints}
        return [LaneView(one, urls[one.endpoint.name], self.sampled[one.endpoint.name]) for one in self.running()]

    @property
    def samples(self) -> list[Sample]:
        return list(self.sampled.values())

    @property
    def redis_up(self) -> bool:
        return not self.link.outage.lasts

    @property
    def is_alive(self) -> bool:
        """Tell whether every loop goes round; those that end because of a stop are given their grace."""
        return self.stopping.is_set() or all(time.monotonic() - pulse < STUCK_AFTER for pulse in self.pulses())

    @property
    def unready(self) -> list[str]:
        """Return why it can deliver nothing now; nothing where it can."""
        reasons = []
        if not self.redis_up:
            outage = self.link.outage
            reasons.append(f"Redis has not answered for {outage.seconds:.0f} s: {outage.reason}")
        reasons += [f"Redis refuses {command!r}: {refused.reason}" for command, refused in self.link.refused.items()]
        if not self.lease.holds():
            reasons.append("no lease on a processing list: it is being taken, or all are somebody's")
        if self.stopping.is_set():
            reasons.append("stopping")
        return reasons

    @property
    def parts(self) -> dict[str, Any]:
        """Return it as plain values, for JSON; no CDR content, and no secret."""
        slot = self.lease.slot
        everywhere = self.sampled.get("all")
        return {
            "version": self.version,
            "integrator": self.settings.integrator,
            "host": socket.gethostname(),
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "redis": {"url": redacted(self.settings.redis_url.get_secret_value()), "up": self.redis_up},
            "slot": slot.number if slot else None,
            "unready": self.unready,
            "source": {
                "key": self.settings.source_key,
                "distributed": everywhere is not None,
                **(asdict(everywhere.lengths) if everywhere else {}),
            },
            "lanes": [lane.parts for lane in self.lanes],
            "events": list(events.recent),
        }
