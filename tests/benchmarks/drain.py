"""What a CDR costs while a backlog drains, and where that goes."""

import json
import signal
import subprocess
from importlib.util import find_spec

from tests.benchmarks.cdrs import USUAL, cdrs
from tests.benchmarks.contenders import ROOT, process_module
from tests.benchmarks.report import Report
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Run, Stage, median, stage
from tests.benchmarks.targets import CONNECT_RATIO, DRAIN_RATIO

JUDGED = 64


def run(scale: Scale) -> list[Report]:
    report = Report("Draining a backlog, CDRs of 1.1 kB")
    ours: dict[int, Run] = {}
    theirs: dict[int, Run] = {}
    for concurrency in scale.of((1, 16, JUDGED, 256), (1, JUDGED)):
        ours[concurrency] = _ours(concurrency, scale)
        theirs[concurrency] = _straightforward(concurrency, scale)
        report.row(_row(concurrency, "forwarder", ours[concurrency]))
        report.row(_row(concurrency, "straightforward loop", theirs[concurrency]))
    if find_spec("mq_bridge_connect"):
        connect = _connect(scale)
        report.row(_row(JUDGED, "Redpanda Connect, at least once by hand", connect))
        report.check(CONNECT_RATIO, ours[JUDGED].cpu_us / connect.cpu_us)
    report.check(DRAIN_RATIO, ours[JUDGED].cpu_us / theirs[JUDGED].cpu_us)
    return [report, _where_it_goes(ours[JUDGED], scale)]


def _row(concurrency: int, name: str, run: Run) -> dict[str, str | int | float]:
    return {
        "concurrency": concurrency,
        "": name,
        "CPU µs per CDR": round(run.cpu_us),
        "CDRs/s": round(run.rate),
        "peak MiB": round(run.peak_mib),
        "CDRs": run.cdrs,
    }


def _ours(concurrency: int, scale: Scale) -> Run:
    with stage() as place, place.forwarder(concurrency) as forwarder:
        place.warm_up(forwarder)
        number = scale.of(10_000, 5_000)
        return median([place.drain([forwarder], cdrs(number)) for _ in range(scale.of(3, 1))])


def _straightforward(concurrency: int, scale: Scale) -> Run:
    with stage() as place, place.straightforward(concurrency) as loop:
        place.warm_up(loop)
        return place.drain([loop], cdrs(10_000), most_seconds=scale.of(15, 5))


def _connect(scale: Scale) -> Run:
    with stage() as place, place.connect(JUDGED) as connect:
        place.warm_up(connect)
        return median([place.drain([connect], cdrs(10_000)) for _ in range(scale.of(3, 1))])


def _where_it_goes(whole: Run, scale: Scale) -> Report:
    report = Report(f"Where the CPU goes, concurrency {JUDGED}")
    number = scale.of(30_000, 10_000)
    with stage() as place:
        parts, places = _sampled(place, number)
        attempt = _attempt_alone(place, number)
    samples = sum(parts.values())
    for part, met in sorted(parts.items(), key=lambda item: -item[1]):
        report.row({"part": part, "share %": 100 * met / samples, "µs per CDR": met / samples * whole.cpu_us})
    report.row({"part": "an HTTP attempt alone", "share %": 100 * attempt / whole.cpu_us, "µs per CDR": attempt})
    met_most = "; ".join(f"{name} {100 * met / samples:.1f} %" for name, met in places[:12])
    report.note = f"{samples} samples. Met most, innermost first: {met_most}"
    return report


def _sampled(place: Stage, number: int) -> tuple[dict[str, int], list[tuple[str, int]]]:
    result = place.directory / "samples.json"
    with place.sampled_forwarder(JUDGED, result) as forwarder:
        place.warm_up(forwarder)
        forwarder.signal(signal.SIGUSR1)
        place.drain([forwarder], cdrs(number))
    found = json.loads(result.read_text(encoding="utf-8"))
    return found["parts"], found["places"]


def _attempt_alone(place: Stage, number: int) -> float:
    """Return the CPU µs of an attempt at the same concurrency, without Redis and the lane."""
    done = subprocess.run(
        process_module("attempts", number, USUAL),
        env={"PATH": "", **place.variables(JUDGED)},
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    return float(done.stdout) * 1e6
