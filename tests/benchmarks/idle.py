"""How long a CDR waits when there is nothing else to do: from just before its RPUSH until its request is here."""

import random
import time

from tests.benchmarks.cdrs import USUAL, cdr
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Stage, stage
from tests.benchmarks.targets import IDLE_P50, IDLE_P99

CONCURRENCY = 64
SEED = 7


def run(scale: Scale) -> list[Report]:
    report = Report("Added latency when idle, RPUSH to request")
    measured = [_latencies(rate, scale.of(20, 5)) for rate in (1, 10, 100)]
    report.rows = [_row(rate, latencies) for rate, latencies in zip((1, 10, 100), measured, strict=True)]
    report.check(IDLE_P50, max(percentile(latencies, 50) for latencies in measured))
    report.check(IDLE_P99, max(percentile(latencies, 99) for latencies in measured))
    return [report]


def percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _row(rate: int, latencies: list[float]) -> Row:
    return {
        "CDRs per second": rate,
        "CDRs": len(latencies),
        "p50 ms": percentile(latencies, 50),
        "p99 ms": percentile(latencies, 99),
        "longest ms": latencies[-1],
    }


def _latencies(rate: int, seconds: int) -> list[float]:
    with stage() as place:
        with place.forwarder(CONCURRENCY) as forwarder:
            place.warm_up(forwarder)
            _push_at_random(place, rate, rate * seconds)
            place.settle()
        place.receiver.stop()
        latencies: list[float] = place.receiver.received["latencies"]
        return latencies


def _push_at_random(place: Stage, rate: int, number: int) -> None:
    """Push as calls end: independently of each other."""
    chance = random.Random(SEED)
    due = time.monotonic()
    for each in range(number):
        due += chance.expovariate(rate)
        time.sleep(max(0.0, due - time.monotonic()))
        place.push(cdr(each, USUAL, time.monotonic_ns()))
