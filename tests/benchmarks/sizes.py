"""Short CDRs and long ones."""

from tests.benchmarks.cdrs import KILOBYTE, cdrs
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import stage

CONCURRENCY = 64


def run(scale: Scale) -> list[Report]:
    report = Report(f"CDRs of other sizes, concurrency {CONCURRENCY}")
    numbers = {300: 10_000, KILOBYTE: 10_000, 16 * KILOBYTE: 5_000, 256 * KILOBYTE: 1_000}
    report.rows = [_row(size, scale.of(number, number // 5)) for size, number in numbers.items()]
    return [report]


def _row(size: int, number: int) -> Row:
    with stage() as place, place.forwarder(CONCURRENCY) as forwarder:
        place.warm_up(forwarder)
        drained = place.drain([forwarder], cdrs(number, size))
    return {
        "kB": size / KILOBYTE,
        "CPU µs per CDR": round(drained.cpu_us),
        "CDRs/s": round(drained.rate),
        "MB/s": drained.rate * size / 1e6,
        "peak MiB": round(drained.peak_mib),
        "CDRs": drained.cdrs,
    }
