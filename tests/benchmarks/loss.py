"""The packet-loss table of Enigma's integration guide, measured again.

Redis and the forwarder are in a network namespace each; the endpoint is beside the forwarder, on loopback, so that
only what passes between the forwarder and Redis gets lost. Everything of ours reaches Redis by a Unix socket.
"""

from dataclasses import dataclass, replace

from tests.benchmarks.cdrs import cdrs
from tests.benchmarks.contenders import Contender
from tests.benchmarks.namespaces import Network, network
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Run, Stage, median, stage_on
from tests.benchmarks.targets import LOSS_DELIVERED, LOSS_RATE

CONCURRENCY = 64
CDRS = 2_000
GUIDE = {0: 308.0, 5: 96.0, 30: 6.8}
"""CDRs per second, from its seconds for 2,000 and its CDRs in 20 s."""


@dataclass(frozen=True)
class Tried:
    """`delivered`: per cent of the CDRs that the endpoint has received."""

    run: Run
    delivered: float


def run(scale: Scale) -> list[Report]:
    report = Report(f"Packets between the forwarder and Redis are lost; {CDRS:,} CDRs, concurrency {CONCURRENCY}")
    whole = 100.0
    with network() as net:
        for way in ("what Redis sends", "both ways"):
            for percent in GUIDE if way == "what Redis sends" else [each for each in GUIDE if each]:
                ours = _tried(net, percent, way, scale)
                theirs = _straightforward(net, percent, way, scale)
                report.row(_row(way, percent, ours, theirs))
                whole = min(whole, ours.delivered)
                if way == "what Redis sends":
                    report.check(LOSS_RATE[percent], ours.run.rate)
    report.check(LOSS_DELIVERED, whole)
    return [report]
