"""Whether an endpoint notices what another one does, and what a forwarder does when all are down."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from tests.benchmarks.cdrs import USUAL, cdrs
from tests.benchmarks.contenders import Contender, Receiver, until
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BACKLOG, INTEGRATOR, PROCESSING, SOURCE, Stage, stage
from tests.benchmarks.targets import CLOSED_COMMANDS, CLOSED_CPU, LANE_RATIO

CONCURRENCY = 32
ALONE = "A is alone"
ANSWERS = "B answers at once"
TROUBLED = {"B hangs": 0, "B fails (503)": 503, "B rejects (400)": 400}
OTHERS: dict[str, int | None] = {ALONE: None, ANSWERS: 204, **TROUBLED}
A_LISTS = (SOURCE, PROCESSING, f"{INTEGRATOR}:a:pending:cdr", f"{INTEGRATOR}:a:processing:cdr")
ENOUGH_SECONDS = 120.0
SETTLED_SECONDS = 5.0


def run(scale: Scale) -> list[Report]:
    return [_beside(scale), _all_closed(scale)]


def _beside(scale: Scale) -> Report:
    """Measure all in turns, so that a machine that is busy for a while is so for all of them."""
    number = scale.of(40_000, 10_000)
    report = Report(f"Endpoint A answers at once; what B does; {number:,} CDRs, concurrency {CONCURRENCY} each")
    turns = [{other: _rate_of_a(status, number) for other, status in OTHERS.items()} for _ in range(scale.of(3, 1))]
    rates = {other: median(turn[other] for turn in turns) for other in OTHERS}
    ratios = {other: rate / rates[ALONE] for other, rate in rates.items()}
    report.rows = [{"": other, "A's CDRs/s": round(rates[other]), "ratio": ratios[other]} for other in OTHERS]
    report.check(LANE_RATIO, min(ratios[other] for other in TROUBLED))
    return report


@contextmanager
def _lanes(place: Stage, **urls: str) -> Iterator[Contender]:
    named = {f"endpoints__{name}__url": url for name, url in urls.items()}
    with place.forwarder(CONCURRENCY, webhook_url="", **named) as forwarder:
        yield forwarder


def _rate_of_a(status: int | None, number: int) -> float:
    """Return CDRs per second at A, whatever B still has before it. Without a status there is no B."""
    with stage() as place, ExitStack() as stack:
        others = {} if status is None else {"b": stack.enter_context(Receiver(status=status)).url}
        stack.enter_context(_lanes(place, a=place.receiver.url, **others))
        warm_up = number // 10
        place.fill(SOURCE, cdrs(warm_up, USUAL + 1))
        place.settle(A_LISTS, ENOUGH_SECONDS)
        place.fill(BACKLOG, cdrs(number))
        began = time.monotonic()
        place.client.rename(BACKLOG, SOURCE)
        place.receiver.await_distinct(warm_up + number, ENOUGH_SECONDS)
        return (place.receiver.distinct - warm_up) / (place.receiver.last_new_at - began)


def _all_closed(scale: Scale) -> Report:
    """Measure what is left to do when nobody takes anything, and a backlog waits."""
    seconds = scale.of(60, 15)
    report = Report("All endpoints are down for long, and a backlog of 100,000 waits")
    with (
        stage() as place,
        Receiver(status=503) as one,
        Receiver(status=503) as other,
        _lanes(place, a=one.url, b=other.url) as forwarder,
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
