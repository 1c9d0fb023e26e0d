"""Whether memory depends on the backlog."""

from tests.benchmarks.cdrs import KILOBYTE, USUAL, cdrs
from tests.benchmarks.report import Report
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Run, stage
from tests.benchmarks.targets import MEMORY_GROWTH, MEMORY_PEAK

CONCURRENCY = 64


def run(scale: Scale) -> list[Report]:
    report = Report(f"Peak memory of the forwarder, concurrency {CONCURRENCY}")
    backlogs = {
        USUAL: scale.of((1_000, 10_000, 100_000, 1_000_000), (1_000, 100_000)),
        16 * KILOBYTE: scale.of((1_000, 10_000, 100_000), (1_000, 10_000)),
    }
    peaks: dict[int, list[float]] = {}
    for size, numbers in backlogs.items():
        for number in numbers:
            drained = _drained(number, size)
            peaks.setdefault(size, []).append(drained.peak_mib)
            report.row({"bytes": size, "backlog": number, "peak MiB": drained.peak_mib, "CDRs/s": round(drained.rate)})
    report.check(MEMORY_GROWTH, max(of_size[-1] - of_size[0] for of_size in peaks.values()))
    report.check(MEMORY_PEAK, max(map(max, peaks.values())))
    return [report]


def _drained(number: int, size: int) -> Run:
    with stage() as place, place.forwarder(CONCURRENCY) as forwarder:
        place.warm_up(forwarder)
        return place.drain([forwarder], cdrs(number, size))
