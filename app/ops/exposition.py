"""What Prometheus is told, under which names."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.dead_letters.letter import Reason
from app.delivery.verdict import Result
from app.ops.observation import LaneView, Observation
from app.ops.sampler import Sample
from app.telemetry import stderr
from app.telemetry.metrics import BOUNDS, Durations, LaneMetrics, Origin

PREFIX: Final = "cdr_forwarder"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LABELS: Final[dict[str, tuple[str, ...]]] = {
    "result": get_args(Result),
    "reason": get_args(Reason),
    "origin": get_args(Origin),
}
"""Every value that a label may have: all are told from the beginning, so that the first increase is one."""

Number = int | float


def exposed(observation: Observation) -> bytes:
    """Return the metrics in the text format of Prometheus. Every label has a closed set of values."""
    registry = CollectorRegistry()
    registry.register(Exposition(observation))
    return generate_latest(registry)


class Exposition(Collector):
    def __init__(self, observation: Observation) -> None:
        self._observation = observation

    def collect(self) -> Iterable[Metric]:
        observed = self._observation
        yield from _lanes(observed.lanes)
        yield from _lists(observed.samples)
        yield _gauge("redis_up", "1 while Redis answers.", [((), int(observed.redis_up))])
        yield CounterMetricFamily(
            f"{PREFIX}_log_lines_dropped", "Log lines that nobody read in time.", stderr.dropped()
        )
        yield _gauge("build_info", "Always 1.", [((observed.version,), 1)], labels=("version",))


def _lanes(lanes: Sequence[LaneView]) -> Iterator[Metric]:
    metrics = [lane.metrics for lane in lanes]
    yield _per_endpoint("claimed", "CDRs claimed.", metrics, lambda one: one.claimed)
    yield _per_endpoint("delivered", "CDRs that the endpoint has answered 2xx.", metrics, lambda one: one.delivered)
    yield _per_endpoint("acks_lost", "Delivered, and gone from processing before.", metrics, lambda one: one.acks_lost)
    yield _per_endpoint("deferred", "Moved to the retry set.", metrics, lambda one: one.deferred)
    yield _by("result", "attempts", "POSTs, by what came of them.", metrics, lambda one: one.attempts)
    yield _by("reason", "dead_lettered", "Dead letters made.", metrics, lambda one: one.dead_lettered)
    yield _histogram("attempt_duration_seconds", "Of one POST.", metrics, lambda one: one.attempt_durations)
    yield _histogram("delivery_duration_seconds", "From claim to ack.", metrics, lambda one: one.delivery_durations)
    gauges: dict[tuple[str, str], Callable[[LaneView], Number]] = {
        ("in_flight", "CDRs claimed, and neither acked nor left."): lambda lane: lane.in_flight,
        ("oldest_in_flight_seconds", "Since the first of those was claimed."): lambda lane: lane.oldest_in_flight,
        ("breaker_open", "1 while the endpoint is taken to be down."): lambda lane: int(lane.is_open),
        ("last_delivery_timestamp_seconds", "Unix time; 0: none yet."): lambda lane: lane.metrics.last_delivery_at or 0,
    }
    for (name, text), value in gauges.items():
        yield _gauge(name, text, [((lane.endpoint,), value(lane)) for lane in lanes], labels=("endpoint",))


def _lists(samples: Sequence[Sample]) -> Iterator[Metric]:
    """Yield what was last seen in Redis; `endpoint="all"` is what waits for distribution."""
    gauges: dict[tuple[str, str], Callable[[Sample], Number]] = {
        ("pending_length", "CDRs that wait in the pending list."): lambda one: one.lengths.pending,
        ("processing_length", "CDRs in the processing list of this process."): lambda one: one.lengths.processing,
        ("dead_length", "Dead letters."): lambda one: one.lengths.dead,
        ("retry_length", "Deferred CDRs, those handed out among them."): lambda one: (
            one.lengths.retry + one.lengths.retrying
        ),
        ("pending_head_age_seconds", "For so long the oldest pending CDR is the same."): lambda one: one.head_age,
    }
    for (name, text), value in gauges.items():
        values = [((sample.metrics.endpoint,), value(sample)) for sample in samples]
        yield _gauge(name, text, values, labels=("endpoint",))
    metrics = [sample.metrics for sample in samples]
    yield _by("origin", "recovered", "Lost CDRs found in processing lists.", metrics, lambda one: one.recovered)


def _per_endpoint(
    name: str, text: str, metrics: Sequence[LaneMetrics], value: Callable[[LaneMetrics], Number]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["endpoint"])
    for one in metrics:
        family.add_metric([one.endpoint], value(one))
    return family


def _by(
    label: str, name: str, text: str, metrics: Sequence[LaneMetrics], counts: Callable[[LaneMetrics], Mapping[Any, int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["endpoint", label])
    for one in metrics:
        for value in LABELS[label]:
            family.add_metric([one.endpoint, value], counts(one).get(value, 0))
    return family


def _histogram(
    name: str, text: str, metrics: Sequence[LaneMetrics], durations: Callable[[LaneMetrics], Durations]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"{PREFIX}_{name}", text, labels=["endpoint"])
    for one in metrics:
        taken, total, buckets = durations(one), 0, []
        for bound, count in zip((*BOUNDS, "+Inf"), taken.counts, strict=True):
            total += count
            buckets.append((str(bound), total))
        family.add_metric([one.endpoint], buckets, taken.seconds)
    return family


def _gauge(
    name: str, text: str, values: Sequence[tuple[tuple[str, ...], Number]], labels: Sequence[str] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for names, value in values:
        family.add_metric(names, value)
    return family
