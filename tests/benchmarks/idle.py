"""How long a CDR waits when there is nothing else to do: from just before its RPUSH until its request is here.

Beside it, in the same run and at the same times, the least that it could be: a bare BLMOVE and a write to a socket.
"""

import random
import time
from collections.abc import Callable

from tests.benchmarks.cdrs import USUAL, cdr
from tests.benchmarks.contenders import Contender
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Stage, stage
from tests.benchmarks.targets import IDLE_P50, IDLE_P99

CONCURRENCY = 64
RATES = (1, 10, 100)
ENOUGH_FOR_P99 = 100
"""Fewer CDRs than that have no 99th percentile: it would be the longest of them."""

SEED = 7


def run(scale: Scale) -> list[Report]:
    report = Report("Added latency when idle, RPUSH to request")
    medians, tails = [], []
    for rate in RATES:
        ours = _latencies(_forwarder, rate, scale.of(30, 5))
        least = _latencies(Stage.bare, rate, scale.of(30, 5))
        report.row(_row(rate, "forwarder", ours))
        report.row(_row(rate, "bare BLMOVE and write", least))
        medians.append(percentile(ours, 50) / percentile(least, 50))
        if len(ours) >= ENOUGH_FOR_P99:
            tails.append(percentile(ours, 99) / percentile(least, 99))
    report.check(IDLE_P50, max(medians))
    report.check(IDLE_P99, max(tails))
    return [report]


def percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _row(rate: int, name: str, latencies: list[float]) -> Row:
    return {
        "CDRs per second": rate,
        "": name,
        "CDRs": len(latencies),
        "p50 ms": percentile(latencies, 50),
        "p99 ms": percentile(latencies, 99),
        "longest ms": latencies[-1],
    }


def _forwarder(place: Stage) -> Contender:
    return place.forwarder(CONCURRENCY)


def _latencies(start: Callable[[Stage], Contender], rate: int, seconds: int) -> list[float]:
    with stage() as place:
        with start(place) as contender:
            place.warm_up(contender)
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
