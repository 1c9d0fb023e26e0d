"""What CDRs that wait for another try cost until they are due: hardly anything, however many they are."""

import time

from tests.benchmarks.contenders import Contender
from tests.benchmarks.report import Report, Row
from tests.benchmarks.retry_set import RETRY, fill_retry_set
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import WARM_UP, Stage, stage
from tests.benchmarks.targets import DEFERRED_CPU, DEFERRED_TRAFFIC

CONCURRENCY = 64
SWEEP_INTERVAL = 5
"""Seconds; shorter than by default, so that what is measured has sweeps in it."""

CALM_SECONDS = 5.0


def run(scale: Scale) -> list[Report]:
    seconds = scale.of(30.0, 8.0)
    report = Report(f"Deferred CDRs, none due, and nothing new; {seconds:g} s, a sweep every {SWEEP_INTERVAL} s")
    report.rows = [_row(number, seconds) for number in scale.of((0, 100_000, 500_000), (0, 100_000))]
    most = report.rows[-1]
    report.check(DEFERRED_CPU, float(most["CPU %"]))
    report.check(DEFERRED_TRAFFIC, float(most["sent by Redis, kB/s"]))
    return [report]


def _row(number: int, seconds: float) -> Row:
    """Start with them there, as after a restart."""
    with stage() as place:
        fill_retry_set(place.client, number)
        with place.forwarder(CONCURRENCY, sweep_interval=str(SWEEP_INTERVAL)) as forwarder:
            place.warm_up(forwarder)
            time.sleep(CALM_SECONDS)
            row = _observed(place, forwarder, seconds)
        _verify_none_was_tried(place, number)
    return {"deferred": number, **row}


def _observed(place: Stage, forwarder: Contender, seconds: float) -> Row:
    cpu, sent = forwarder.cpu_seconds(), _bytes_sent(place)
    time.sleep(seconds)
    cpu, sent = forwarder.cpu_seconds() - cpu, _bytes_sent(place) - sent
    return {
        "CPU %": 100 * cpu / seconds,
        "sent by Redis, kB/s": sent / seconds / 1000,
        "resident MiB": forwarder.resident_mib(),
        "peak MiB": forwarder.peak_mib(),
    }


def _bytes_sent(place: Stage) -> int:
    return int(place.client.info("stats")["total_net_output_bytes"])


def _verify_none_was_tried(place: Stage, number: int) -> None:
    if place.client.zcard(RETRY) != number or place.receiver.ask() != WARM_UP:
        raise RuntimeError("deferred CDRs were tried before they were due")
