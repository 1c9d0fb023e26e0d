"""Whether memory depends on what waits: a backlog, or deferred CDRs."""

from tests.benchmarks.cdrs import KILOBYTE, USUAL, cdrs
from tests.benchmarks.report import Report
from tests.benchmarks.retry_set import fill_retry_set
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Run, stage
from tests.benchmarks.targets import MEMORY_GROWTH, MEMORY_PEAK

CONCURRENCY = 64
DEFERRED = 100_000


def run(scale: Scale) -> list[Report]:
    report = Report(f"Peak memory of the forwarder, concurrency {CONCURRENCY}")
    waiting = {
        USUAL: [(number, 0) for number in scale.of((1_000, 10_000, 100_000, 1_000_000), (1_000, 50_000))],
        16 * KILOBYTE: [(number, 0) for number in scale.of((1_000, 10_000, 100_000), (1_000, 5_000))],
    }
    waiting[USUAL].append((1_000, DEFERRED))
    peaks: dict[int, list[float]] = {}
    for size, cases in waiting.items():
        for number, deferred in cases:
            drained = _drained(number, size, deferred)
            peaks.setdefault(size, []).append(drained.peak_mib)
            report.row(
                {
                    "bytes": size,
                    "backlog": number,
                    "deferred": deferred,
                    "peak MiB": drained.peak_mib,
                    "CDRs/s": round(drained.rate),
                }
            )
    # Of larger CDRs a short backlog does not fill what may be in flight, which bytes limit.
    report.check(MEMORY_GROWTH, max(abs(peak - peaks[USUAL][0]) for peak in peaks[USUAL]))
    report.check(MEMORY_PEAK, max(peaks[USUAL]))
    return [report]


def _drained(number: int, size: int, deferred: int) -> Run:
    with stage() as place:
        fill_retry_set(place.client, deferred)
        with place.forwarder(CONCURRENCY) as forwarder:
            place.warm_up(forwarder)
            return place.drain([forwarder], cdrs(number, size))
