"""Several CDRs in one POST: what one of them costs, here and at the receiver."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.cdrs import cdrs
from tests.benchmarks.contenders import Storing
from tests.benchmarks.report import Report
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Run, Stage, median, stage
from tests.benchmarks.targets import BATCH_RATIO

CONCURRENCY = 64
SIZES = (1, 10, 100, 1_000)
JUDGED = 100
BATCH_BYTES = 4 * 1024 * 1024
"""As much as the receivers of deploy/receivers/ take."""


def run(scale: Scale) -> list[Report]:
    return [
        _report("envelope", scale.of(SIZES, (1, JUDGED)), scale),
        _report("json", scale.of(SIZES, (JUDGED,)), scale),
    ]


def _report(form: str, sizes: tuple[int, ...], scale: Scale) -> Report:
    report = Report(f"Batches, format {form}, CDRs of 1.1 kB, concurrency {CONCURRENCY}")
    costs: dict[int, float] = {}
    for size in sizes:
        answered, at_receiver = _answered(form, size, scale)
        stored, at_store = _stored(form, size, scale)
        costs[size] = answered.cpu_us
        report.row(
            {
                "CDRs per POST, at most": size,
                "CPU µs per CDR": answered.cpu_us,
                "CDRs/s": round(answered.rate),
                "peak MiB": round(answered.peak_mib),
                "CPU µs per CDR of an endpoint that only answers": at_receiver,
                "of receiver.py, which stores in SQLite": at_store,
                "CDRs/s stored": round(stored.rate),
            }
        )
    if {1, JUDGED} <= costs.keys():
        report.check(BATCH_RATIO[form], costs[JUDGED] / costs[1])
    return report


def _answered(form: str, size: int, scale: Scale) -> tuple[Run, float]:
    """Return how a backlog went to an endpoint that answers at once, and the CPU µs that a CDR cost there."""
    number = scale.of(20_000, 5_000) if size == 1 else scale.of(100_000, 20_000)
    with stage() as place, place.forwarder(CONCURRENCY, **_variables(form, size)) as forwarder:
        place.warm_up(forwarder)
        runs: list[tuple[Run, float]] = []
        for _ in range(scale.of(3, 1)):
            before = place.receiver.cpu_seconds()
            drained = place.drain([forwarder], cdrs(number))
            runs.append((drained, (place.receiver.cpu_seconds() - before) / number * 1e6))
    middle = median([drained for drained, _ in runs])
    return next((drained, cost) for drained, cost in runs if drained is middle)


def _stored(form: str, size: int, scale: Scale) -> tuple[Run, float]:
    """Return the same for a receiver that verifies, and answers when the CDRs are on disk."""
    number = scale.of(2_000, 500) if size == 1 else scale.of(20_000, 5_000)
    with _storing() as (place, receiver):
        variables = _variables(form, size) | {"webhook_url": receiver.url, "webhook_secret": receiver.secret}
        with place.forwarder(CONCURRENCY, **variables) as forwarder:
            place.warm_up(forwarder)
            before = receiver.cpu_seconds()
            drained = place.drain([forwarder], cdrs(number))
            return drained, (receiver.cpu_seconds() - before) / number * 1e6


@contextmanager
def _storing() -> Iterator[tuple[Stage, Storing]]:
    with stage() as place, Storing(place.directory / "cdrs.sqlite") as receiver:
        yield place, receiver


def _variables(form: str, size: int) -> dict[str, str]:
    return {
        "webhook_batch_size": str(size),
        "webhook_batch_format": form,
        "webhook_batch_bytes": str(BATCH_BYTES),
    }
