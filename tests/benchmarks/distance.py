"""Redis far away."""

from tests.benchmarks.cdrs import cdrs
from tests.benchmarks.contenders import Contender, Listener, process_module
from tests.benchmarks.report import Report
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Run, Stage, stage
from tests.benchmarks.targets import DISTANCE_RATE

FARTHEST_MS, JUDGED = 200, 64
CDRS = 40_000
"""Enough for several seconds at the pace that is promised, so that finding that pace is a small part of them."""


def run(scale: Scale) -> list[Report]:
    report = Report("Redis at a distance")
    for milliseconds in scale.of((1, 20, FARTHEST_MS), (FARTHEST_MS,)):
        for concurrency in scale.of((JUDGED, 256), (JUDGED,)):
            ours = _ours(milliseconds, concurrency, scale)
            report.row(_row(milliseconds, concurrency, "forwarder", ours))
            if (milliseconds, concurrency) == (FARTHEST_MS, JUDGED):
                report.check(DISTANCE_RATE, ours.rate)
        report.row(_row(milliseconds, JUDGED, "straightforward loop", _straightforward(milliseconds, JUDGED, scale)))
    return [report]


def _row(milliseconds: int, concurrency: int, name: str, run: Run) -> dict[str, str | int | float]:
    return {
        "round trip ms": milliseconds,
        "concurrency": concurrency,
        "": name,
        "CDRs/s": round(run.rate),
        "CPU µs per CDR": round(run.cpu_us),
    }


def _ours(milliseconds: int, concurrency: int, scale: Scale) -> Run:
    with stage() as place, _far(place, milliseconds), place.forwarder(concurrency) as forwarder:
        return _drained(place, forwarder, scale.of(CDRS, CDRS // 2), scale.of(30, 8))


def _straightforward(milliseconds: int, tasks: int, scale: Scale) -> Run:
    with stage() as place, _far(place, milliseconds), place.straightforward(tasks) as loop:
        return _drained(place, loop, 10_000, scale.of(10, 5))


def _drained(place: Stage, contender: Contender, number: int, most_seconds: float) -> Run:
    place.warm_up(contender)
    return place.drain([contender], cdrs(number), most_seconds)


def _far(place: Stage, milliseconds: int) -> Listener:
    """Send the contender a long way round; the stage itself stays near."""
    proxy = Listener(
        process_module("delay", place.client.connection_pool.connection_kwargs["port"], milliseconds / 1000)
    )
    place.redis_url = f"redis://127.0.0.1:{proxy.port}/0"
    return proxy
