"""What the delivery log costs: draining without it, with it, and with fields of the CDR."""

from tests.benchmarks.cdrs import cdrs
from tests.benchmarks.report import Report
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Run, median, stage

CONCURRENCY = 64
WAYS: dict[str, dict[str, str]] = {
    "off": {},
    "on": {"delivery_log": "true"},
    "on, two fields": {"delivery_log": "true", "delivery_log_fields": "payload.call_ref,payload.number"},
}


def run(scale: Scale) -> list[Report]:
    """Measure them in turns: what else the machine does then meets all of them."""
    report = Report(f"The delivery log, draining, concurrency {CONCURRENCY}")
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    for _ in range(scale.of(3, 1)):
        for way, variables in WAYS.items():
            runs[way].append(_drained(variables, scale))
    off = median(runs["off"]).cpu_us
    for way, done in runs.items():
        middle = median(done)
        report.row(
            {
                "delivery log": way,
                "CPU µs per CDR": round(middle.cpu_us, 1),
                "more": round(middle.cpu_us - off, 1),
                "CDRs/s": round(middle.rate),
            }
        )
    return [report]


def _drained(variables: dict[str, str], scale: Scale) -> Run:
    with stage() as place, place.forwarder(CONCURRENCY, **variables) as forwarder:
        place.warm_up(forwarder)
        return place.drain([forwarder], cdrs(scale.of(20_000, 5_000)))
