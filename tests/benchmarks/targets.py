"""What is promised of the forwarder's speed, in one place."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Target:
    what: str
    bound: Literal["≤", "≥"]
    limit: float
    unit: str

    def check(self, measured: float) -> "Check":
        met = measured <= self.limit if self.bound == "≤" else measured >= self.limit
        return Check(self, measured, met)


@dataclass(frozen=True)
class Check:
    target: Target
    measured: float
    met: bool

    def as_json(self) -> dict[str, Any]:
        return {**vars(self.target), "measured": self.measured, "met": self.met}


ATTEMPT_RATIO = Target("CPU per attempt, as a part of aiohttp's, concurrency 64, plain", "≤", 1 / 4, "")
DRAIN_CPU = Target("CPU per CDR, draining, concurrency 64", "≤", 250, "µs")
DRAIN_RATIO = Target("… as a part of the straightforward loop's", "≤", 1 / 8, "")
DRAIN_OUTSIDE = Target("… outside the HTTP attempt", "≤", 80, "µs")
LOSS_RATE = {
    0: Target("CDRs per second, no loss", "≥", 2500, "/s"),
    5: Target("CDRs per second, 5 % of what Redis sends is lost", "≥", 2000, "/s"),
    30: Target("CDRs per second, 30 % of what Redis sends is lost", "≥", 1000, "/s"),
}
LOSS_DELIVERED = Target("CDRs delivered, in the worst case", "≥", 100, "%")
IDLE_P50 = Target("RPUSH to request, p50, at the worst rate", "≤", 2, "ms")
IDLE_P99 = Target("RPUSH to request, p99, at the worst rate", "≤", 10, "ms")
MEMORY_GROWTH = Target("Peak memory, longest against shortest backlog", "≤", 10, "MiB")
MEMORY_PEAK = Target("Peak memory", "≤", 90, "MiB")
RECOVER_RATIO = Target("CPU per CDR to recover, against draining", "≤", 2, "x")
RECOVER_BLOCKED = Target("Longest command in Redis", "≤", 50, "ms")
DISTANCE_RATE = Target("CDRs per second, 200 ms of round trip, concurrency 256", "≥", 800, "/s")
LANE_RATIO = Target("A's CDRs per second, whatever B does, against a B that answers", "≥", 0.95, "x")
CLOSED_COMMANDS = Target("Commands in Redis per second, those within scripts too, all endpoints down", "≤", 50, "/s")
CLOSED_CPU = Target("CPU, all endpoints down", "≤", 2, "%")
