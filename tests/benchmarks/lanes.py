"""Whether an endpoint notices what another one does, and what a forwarder does when all are down."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from tests.benchmarks.cdrs import USUAL, cdrs
from tests.benchmarks.contenders import Contender, Receiver, until
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import INTEGRATOR, PROCESSING, SOURCE, Stage, stage
from tests.benchmarks.targets import CLOSED_COMMANDS, CLOSED_CPU, LANE_RATIO

CONCURRENCY = 32
OTHERS = {"answers at once": 204, "answers 503": 503, "hangs": 0}
A_LISTS = (SOURCE, PROCESSING, f"{INTEGRATOR}:a:pending:cdr", f"{INTEGRATOR}:a:processing:cdr")
SETTLED_SECONDS = 5.0


def run(scale: Scale) -> list[Report]:
    return [_beside(scale), _all_closed(scale)]


def _beside(scale: Scale) -> Report:
    report = Report(f"Endpoint A answers at once; what B does; concurrency {CONCURRENCY} each")
    number, rounds = scale.of(20_000, 5_000), scale.of(3, 1)
    rates = {other: median([_rate_of_a(status, number) for _ in range(rounds)]) for other, status in OTHERS.items()}
    calm, *troubled = rates.values()
    report.rows = [{"B": other, "A's CDRs/s": round(rate), "ratio": rate / calm} for other, rate in rates.items()]
    report.check(LANE_RATIO, min(troubled) / calm)
    return report


@contextmanager
def _two_lanes(place: Stage, url_of_a: str, url_of_b: str) -> Iterator[Contender]:
    urls = {"webhook_url": "", "endpoints__a__url": url_of_a, "endpoints__b__url": url_of_b}
    with place.forwarder(CONCURRENCY, **urls) as forwarder:
        yield forwarder


def _rate_of_a(status: int, number: int) -> float:
    """Return CDRs per second at A: until the last was acked there, whatever B still has before it."""
    with stage() as place, Receiver(status=status) as other:
        with _two_lanes(place, place.receiver.url, other.url):
            place.fill(SOURCE, cdrs(number // 10, USUAL + 1))
            place.settle(A_LISTS)
            began = time.monotonic()
            place.fill(SOURCE, cdrs(number))
            place.settle(A_LISTS)
        place.receiver.stop()
        return number / (place.receiver.last_new_at - began)


def _all_closed(scale: Scale) -> Report:
    """Measure what is left to do when nobody takes anything, and a backlog waits."""
    seconds = scale.of(60, 15)
    report = Report("All endpoints are down for long, and a backlog of 100,000 waits")
    with (
        stage() as place,
        Receiver(status=503) as one,
        Receiver(status=503) as other,
        _two_lanes(place, one.url, other.url) as forwarder,
    ):
        place.fill(SOURCE, cdrs(100_000))
        until(lambda: forwarder.log.read_bytes().count(b'"endpoint.lost"') == len((one, other)), 60)
        time.sleep(SETTLED_SECONDS)
        before = _commands(place), forwarder.cpu_seconds()
        time.sleep(seconds)
        commands, cpu = _commands(place) - before[0], forwarder.cpu_seconds() - before[1]
        report.rows = [_closed_row(place, forwarder, commands / seconds, cpu / seconds)]
    report.check(CLOSED_COMMANDS, commands / seconds)
    report.check(CLOSED_CPU, 100 * cpu / seconds)
    return report


def _commands(place: Stage) -> int:
    return int(place.client.info("stats")["total_commands_processed"])


def _closed_row(place: Stage, forwarder: Contender, commands: float, cpu: float) -> Row:
    lanes = [f"{INTEGRATOR}:{name}:pending:cdr" for name in "ab"]
    return {
        "commands/s in Redis": commands,
        "CPU %": 100 * cpu,
        "peak MiB": round(forwarder.peak_mib()),
        "waiting in the source": place.client.llen(SOURCE),
        "copied to the lanes": max(place.client.llen(key) for key in lanes),
    }
