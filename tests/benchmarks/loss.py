"""The packet-loss table of Enigma's integration guide, measured again by its method: CDRs delivered within 20 s.

Redis and the forwarder are in a network namespace each; the endpoint is beside the forwarder, on loopback, so that
only what passes between the forwarder and Redis gets lost. Everything of ours reaches Redis by a Unix socket.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.cdrs import cdrs
from tests.benchmarks.contenders import Contender
from tests.benchmarks.namespaces import Network, network
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BACKLOG, PROCESSING, SOURCE, WARM_UP, Stage, stage_in
from tests.benchmarks.targets import LOSS_DELIVERED, LOSS_RATE

CONCURRENCY = 64
GUIDE_SECONDS = 20.0
QUICK_SECONDS = 5.0
LEFT = "bench-left"
ENOUGH_SECONDS = 180.0

FROM_REDIS, BOTH_WAYS = "what Redis sends", "both ways"


@dataclass(frozen=True)
class Loss:
    """`most`: more CDRs a second than anybody delivers then; the backlog is as long as that needs."""

    way: str
    percent: int
    most: int
    guide: float | str = ""

    def begin(self, net: Network) -> None:
        net.forwarder.loses(self.percent)
        if self.way == BOTH_WAYS:
            net.redis.loses(self.percent)


@dataclass(frozen=True)
class Tried:
    """What came within the seconds of the guide, and what share of the CDRs that were taken came in the end."""

    rate: float
    delivered: float
    settled_after: float


LOSSES = [
    Loss(FROM_REDIS, 0, most=30_000, guide=308.0),
    Loss(FROM_REDIS, 5, most=30_000, guide=96.0),
    Loss(FROM_REDIS, 30, most=15_000, guide=6.8),
    Loss(BOTH_WAYS, 5, most=30_000),
    Loss(BOTH_WAYS, 30, most=10_000),
]
"""The guide's are from its seconds for 2,000 CDRs and its CDRs in 20 s."""


def run(scale: Scale) -> list[Report]:
    seconds = scale.of(GUIDE_SECONDS, QUICK_SECONDS)
    report = Report(f"Packets between the forwarder and Redis get lost; {seconds:g} s of a long backlog")
    report.note = "Then the backlog is taken away; while packets still get lost, what was taken from it must arrive."
    whole = 100.0
    with network() as net:
        for loss in LOSSES:
            ours = [_tried(net, loss, _forwarder, seconds, ENOUGH_SECONDS) for _ in range(scale.of(3, 1))]
            whole = min(whole, *(each.delivered for each in ours))
            report.row(_row(loss, ours, _tried(net, loss, _straightforward, seconds, seconds)))
            if target := LOSS_RATE.get((loss.way, loss.percent)):
                report.check(target, statistics.median(each.rate for each in ours))
    report.check(LOSS_DELIVERED, whole)
    return [report]


def _row(loss: Loss, ours: list[Tried], theirs: Tried) -> Row:
    rates = sorted(each.rate for each in ours)
    return {
        "lost": loss.way,
        "%": loss.percent,
        "forwarder /s": round(statistics.median(rates)),
        "from … to": f"{rates[0]:,.0f} … {rates[-1]:,.0f}",
        "delivered %": min(each.delivered for each in ours),
        "settled after s": max(each.settled_after for each in ours),
        "loop /s": round(theirs.rate),
        "its delivered %": theirs.delivered,
        "guide /s": loss.guide,
    }


def _forwarder(place: Stage) -> Contender:
    return place.forwarder(CONCURRENCY)


def _straightforward(place: Stage) -> Contender:
    return place.straightforward(CONCURRENCY)


def _tried(
    net: Network, loss: Loss, start: Callable[[Stage], Contender], seconds: float, settle_seconds: float
) -> Tried:
    with stage_in(net) as place, start(place) as contender:
        place.warm_up(contender)
        total = place.fill(BACKLOG, cdrs(int(loss.most * seconds)))
        loss.begin(net)
        try:
            place.client.rename(BACKLOG, SOURCE)
            time.sleep(seconds)
            within = place.receiver.ask() - WARM_UP
            delivered, settled_after = _settled(place, total, settle_seconds)
        finally:
            net.heal()
    return Tried(within / seconds, delivered, settled_after)


def _settled(place: Stage, total: int, most_seconds: float) -> tuple[float, float]:
    """Take the backlog away. Return how many per cent of the others arrive, and after how many seconds."""
    began = time.monotonic()
    if place.client.exists(SOURCE):
        place.client.rename(SOURCE, LEFT)
    place.settle([SOURCE, PROCESSING], most_seconds)
    taken = total - place.client.llen(LEFT) - place.client.llen(SOURCE)
    return 100 * (place.receiver.ask() - WARM_UP) / taken, time.monotonic() - began
