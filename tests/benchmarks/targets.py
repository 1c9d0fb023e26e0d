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
DRAIN_RATIO = Target("CPU per CDR, draining, concurrency 64, as a part of the straightforward loop's", "≤", 1 / 50, "")
CONNECT_RATIO = Target("… as a part of Redpanda Connect's, made at-least-once by hand", "≤", 1 / 3, "")
BATCH_RATIO = {
    form: Target(f"CPU per CDR in batches of 100 ({form}), against one POST each", "≤", 1 / 4, "x")
    for form in ("envelope", "json")
}
POISON_RATIO = Target("Rate of the others while one CDR in ten fails, against none failing", "≥", 0.5, "x")
DEFERRED_CPU = Target("CPU, all CDRs deferred, none due", "≤", 2, "%")
DEFERRED_TRAFFIC = Target("Sent by Redis, all CDRs deferred, none due", "≤", 50, "kB/s")
LOSS_RATE = {
    ("what Redis sends", 0): Target("CDRs per second, no loss", "≥", 12_000, "/s"),
    ("what Redis sends", 5): Target("CDRs per second, 5 % of what Redis sends is lost", "≥", 8_000, "/s"),
    ("what Redis sends", 30): Target("CDRs per second, 30 % of what Redis sends is lost", "≥", 2_000, "/s"),
    ("both ways", 30): Target("CDRs per second, 30 % is lost both ways", "≥", 300, "/s"),
}
LOSS_DELIVERED = Target("CDRs delivered of those that were taken, in the worst case", "≥", 100, "%")
DISTANCE_RATE = Target("CDRs per second, 200 ms of round trip, concurrency 64", "≥", 4_000, "/s")
IDLE_P50 = Target("RPUSH to request, p50, against a bare BLMOVE and socket write, at the worst rate", "≤", 2, "x")
IDLE_P99 = Target("RPUSH to request, p99, against a bare BLMOVE and socket write, at the worst rate", "≤", 4, "x")
MEMORY_PEAK = Target("Peak memory, CDRs of 1.1 kB", "≤", 55, "MiB")
MEMORY_GROWTH = Target("Peak memory, furthest from that of the shortest backlog", "≤", 5, "MiB")
RECOVER_RATIO = Target("CPU per CDR to recover, against draining", "≤", 1.5, "x")
RECOVER_BLOCKED = Target("Longest command in Redis", "≤", 20, "ms")
LANE_RATIO = Target("A's CDRs per second beside a B that hangs, fails or rejects, against A alone", "≥", 0.95, "x")
CLOSED_COMMANDS = Target("Commands in Redis per second, those within scripts too, all endpoints down", "≤", 50, "/s")
CLOSED_CPU = Target("CPU, all endpoints down", "≤", 2, "%")
