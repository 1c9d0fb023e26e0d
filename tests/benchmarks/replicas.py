"""Several processes on one list: what they cost together, and whether each gets its share."""

from contextlib import ExitStack

from tests.benchmarks.cdrs import cdrs
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import stage

CONCURRENCY = 64


def run(scale: Scale) -> list[Report]:
    report = Report(f"Processes on one list, concurrency {CONCURRENCY} each")
    report.rows = [_row(processes, scale.of(20_000, 5_000)) for processes in (1, 2, 4)]
    return [report]


def _row(processes: int, number: int) -> Row:
    with stage() as place, ExitStack() as stack:
        urls = [f"{place.receiver.url}/{process}" for process in range(processes)]
        forwarders = [stack.enter_context(place.forwarder(CONCURRENCY, webhook_url=url)) for url in urls]
        place.warm_up(*forwarders)
        drained = place.drain(forwarders, cdrs(number))
        place.receiver.stop()
        by_path = list(place.receiver.received["by_path"].values())
    shares = [100 * received / sum(by_path) for received in by_path]
    return {
        "processes": processes,
        "CDRs/s": round(drained.rate),
        "CPU µs per CDR, together": round(drained.cpu_us),
        "least share %": min(shares),
        "greatest share %": max(shares),
    }
