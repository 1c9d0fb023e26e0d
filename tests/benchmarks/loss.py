"""The packet-loss table of Enigma's integration guide, measured again.

Redis and the forwarder are in a network namespace each; the endpoint is beside the forwarder, on loopback, so that
only what passes between the forwarder and Redis gets lost. Everything of ours reaches Redis by a Unix socket.
"""

import statistics
from dataclasses import dataclass

from tests.benchmarks.cdrs import cdrs
from tests.benchmarks.contenders import Contender
from tests.benchmarks.namespaces import Network, network
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import WARM_UP, Run, Stage, median, stage_in
from tests.benchmarks.targets import LOSS_DELIVERED, LOSS_RATE

CONCURRENCY = 64
CDRS = 2_000
GUIDE = {0: 308.0, 5: 96.0, 30: 6.8}
"""CDRs per second, from its seconds for 2,000 and its CDRs in 20 s."""


@dataclass(frozen=True)
class Loss:
    way: str
    percent: int

    def begin(self, net: Network) -> None:
        net.forwarder.loses(self.percent)
        if self.way == BOTH_WAYS:
            net.redis.loses(self.percent)


@dataclass(frozen=True)
class Tried:
    """A run goes until the last ack; the endpoint has `delivered` per cent of the CDRs, the last after `seconds`."""

    run: Run
    delivered: float
    seconds: float


FROM_REDIS, BOTH_WAYS = "what Redis sends", "both ways"
WORST = Loss(BOTH_WAYS, 30)
LOSSES = [Loss(FROM_REDIS, 0), Loss(FROM_REDIS, 5), Loss(FROM_REDIS, 30), Loss(BOTH_WAYS, 5), WORST]
UNTIL_ALL_ARE_HERE = 900.0


def run(scale: Scale) -> list[Report]:
    report = Report(f"Packets between the forwarder and Redis are lost; {CDRS:,} CDRs, concurrency {CONCURRENCY}")
    whole = 100.0
    with network() as net:
        for loss in LOSSES:
            rounds = [_ours(net, loss) for _ in range(1 if loss == WORST else scale.of(3, 1))]
            whole = min(whole, *(each.delivered for each in rounds))
            report.row(_row(loss, rounds, _straightforward(net, loss, scale.of(20, 6))))
            if loss.way == FROM_REDIS:
                report.check(LOSS_RATE[loss.percent], median([each.run for each in rounds]).rate)
    report.check(LOSS_DELIVERED, whole)
    return [report]


def _row(loss: Loss, ours: list[Tried], theirs: Tried) -> Row:
    rates = sorted(each.run.rate for each in ours)
    return {
        "lost": loss.way,
        "%": loss.percent,
        "forwarder /s": round(median([each.run for each in ours]).rate),
        "from … to": f"{rates[0]:,.0f} … {rates[-1]:,.0f}",
        "all here after s": statistics.median_low(each.seconds for each in ours),
        "delivered %": min(each.delivered for each in ours),
        "loop /s": round(theirs.run.rate),
        "its delivered %": theirs.delivered,
        "guide /s": GUIDE[loss.percent] if loss.way == FROM_REDIS else "",
    }


def _ours(net: Network, loss: Loss) -> Tried:
    with stage_in(net) as place, place.forwarder(CONCURRENCY) as forwarder:
        return _tried(place, net, loss, forwarder, UNTIL_ALL_ARE_HERE)


def _straightforward(net: Network, loss: Loss, most_seconds: float) -> Tried:
    with stage_in(net) as place, place.straightforward(CONCURRENCY) as loop:
        return _tried(place, net, loss, loop, most_seconds)


def _tried(place: Stage, net: Network, loss: Loss, contender: Contender, most_seconds: float) -> Tried:
    place.warm_up(contender)
    loss.begin(net)
    try:
        run = place.drain([contender], cdrs(CDRS), most_seconds)
    finally:
        net.heal()
    place.receiver.stop()
    receiver = place.receiver
    return Tried(run, 100 * (receiver.distinct - WARM_UP) / CDRS, receiver.last_new_at - run.began)
