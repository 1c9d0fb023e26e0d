"""What CDRs that always fail cost the others."""

import time
from dataclasses import dataclass
from statistics import median_low

from tests.benchmarks.cdrs import USUAL, cdr, poison
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BACKLOG, SOURCE, WARM_UP, Stage, stage
from tests.benchmarks.targets import POISON_RATIO

CONCURRENCY = 32
ONE_IN = 10
ENOUGH_SECONDS = 300.0


@dataclass(frozen=True)
class Forwarded:
    """How many good CDRs arrived, in how many seconds, and what CPU that took."""

    good: int
    seconds: float
    cpu: float
    failing: int

    @property
    def rate(self) -> float:
        return self.good / self.seconds


def run(scale: Scale) -> list[Report]:
    number = scale.of(20_000, 4_000)
    report = Report(f"One CDR in {ONE_IN} always gets a 500; {number:,} CDRs, concurrency {CONCURRENCY}")
    rounds = [
        (_forwarded(number, 0, scale), _forwarded(number, number // ONE_IN, scale)) for _ in range(scale.of(3, 1))
    ]
    calm, poisoned = (_median(runs) for runs in zip(*rounds, strict=True))
    report.rows = [_row(calm), _row(poisoned)]
    report.check(POISON_RATIO, poisoned.rate / calm.rate)
    return [report]


def _median(runs: tuple[Forwarded, ...]) -> Forwarded:
    rate = median_low(run.rate for run in runs)
    return next(run for run in runs if run.rate == rate)


def _row(run: Forwarded) -> Row:
    return {
        "always fail": run.failing,
        "good ones delivered": run.good,
        "in s": run.seconds,
        "good ones /s": round(run.rate),
        "CPU µs per good one": round(run.cpu / max(1, run.good) * 1e6),
    }


def _forwarded(number: int, failing: int, scale: Scale) -> Forwarded:
    """Forward so many CDRs, until all good ones are there or `ENOUGH_SECONDS` are over."""
    with stage() as place, place.forwarder(CONCURRENCY) as forwarder:
        place.warm_up(forwarder)
        place.fill(BACKLOG, (_cdr(each, failing) for each in range(number)))
        cpu = forwarder.cpu_seconds()
        seconds, arrived = _timed(place, number - failing, scale.of(ENOUGH_SECONDS, ENOUGH_SECONDS / 10))
        return Forwarded(arrived, seconds, forwarder.cpu_seconds() - cpu, failing)


def _cdr(number: int, failing: int) -> bytes:
    return poison(number) if failing and number % ONE_IN == 0 else cdr(number, USUAL)


def _timed(place: Stage, good: int, most_seconds: float) -> tuple[float, int]:
    """Return the seconds until the last good one arrived, and how many did."""
    began = time.monotonic()
    place.client.rename(BACKLOG, SOURCE)
    complete = place.receiver.await_distinct(WARM_UP + good, most_seconds)
    ended = place.receiver.last_new_at if complete else time.monotonic()
    return ended - began, place.receiver.distinct - WARM_UP
