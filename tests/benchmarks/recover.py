"""What it takes to deliver what a process that died has left in processing."""

from dataclasses import dataclass

from tests.benchmarks.cdrs import cdrs
from tests.benchmarks.report import Report
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import PROCESSING, Run, Stage, stage
from tests.benchmarks.targets import RECOVER_BLOCKED, RECOVER_RATIO

CONCURRENCY = 64
NOTED_US = 2_000


@dataclass(frozen=True)
class Observed:
    """A run, and the milliseconds of Redis' slowest command meanwhile (0: less than `NOTED_US`)."""

    run: Run
    slowest_ms: float
    slowest: str


def run(scale: Scale) -> list[Report]:
    number = scale.of(100_000, 20_000)
    report = Report(f"{number:,} CDRs left in processing, concurrency {CONCURRENCY}")
    observed = {"draining": _draining(number), "recovering": _recovering(number)}
    for name, found in observed.items():
        report.row(_row(name, found))
    report.check(RECOVER_RATIO, observed["recovering"].run.cpu_us / observed["draining"].run.cpu_us)
    report.check(RECOVER_BLOCKED, max(found.slowest_ms for found in observed.values()))
    return [report]


def _row(name: str, found: Observed) -> dict[str, str | int | float]:
    return {
        "": name,
        "CPU µs per CDR": round(found.run.cpu_us),
        "CDRs/s": round(found.run.rate),
        "peak MiB": round(found.run.peak_mib),
        "slowest in Redis, ms": found.slowest_ms,
        "which": found.slowest,
    }


def _draining(number: int) -> Observed:
    with stage() as place:
        _watch(place)
        with place.forwarder(CONCURRENCY) as forwarder:
            place.warm_up(forwarder)
            return _observed(place, place.drain([forwarder], cdrs(number)))


def _recovering(number: int) -> Observed:
    """Start with the list there: what happens before the slot is taken is not counted."""
    with stage() as place:
        place.fill(PROCESSING, cdrs(number))
        _watch(place)
        with place.forwarder(CONCURRENCY) as forwarder:
            return _observed(place, place.forward([forwarder], number, lambda: None))


def _watch(place: Stage) -> None:
    place.client.config_set("slowlog-log-slower-than", NOTED_US)
    place.client.config_set("slowlog-max-len", 100_000)
    place.client.slowlog_reset()


def _observed(place: Stage, run: Run) -> Observed:
    noted = [entry for entry in place.client.slowlog_get(100_000) if not entry["command"].startswith(b"RPUSH")]
    duration, command = max(((entry["duration"], entry["command"]) for entry in noted), default=(0, b"-"))
    return Observed(run, duration / 1000, command[:24].decode(errors="replace"))
