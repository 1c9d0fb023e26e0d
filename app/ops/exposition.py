"""Write the metrics for Prometheus."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.dead_letters.letter import Reason
from app.delivery.verdict import Result
from app.ops.observation import LaneView, Observation, ObservedSource
from app.ops.sampler import Lengths, Sample
from app.telemetry import stderr, stdout
from app.telemetry.metrics import BOUNDS, Durations, LaneMetrics, Origin

PREFIX: Final = "cdr_forwarder"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LANE: Final = ("endpoint", "source")
SOURCE: Final = ("source",)
LABELS: Final[dict[str, tuple[str, ...]]] = {
    "result": get_args(Result),
    "reason": get_args(Reason),
    "origin": get_args(Origin),
}
"""Every value that a label may have. All exist from the start with 0, so that the first increase is visible."""

Number = int | float


def exposed(observation: Observation) -> bytes:
    """Return the metrics in the text format of Prometheus. Every label has a closed set of values."""
    registry = CollectorRegistry()
    registry.register(Exposition(observation))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class Exposition(Collector):
    def __init__(self, observation: Observation) -> None:
        self._observation = observation

    def collect(self) -> Iterable[Metric]:
        observed, lanes = self._observation, self._observation.lanes
        yield from _counters([lane.sample for lane in lanes])
        yield from _lanes(lanes)
        yield from _lists([sample for source in observed.sources for sample in source.samples])
        yield from _operators(observed.sources)
        yield _gauge("ready", "1 while it can deliver.", {(): int(not observed.unready)})
        yield from _redis(observed.sources)
        yield CounterMetricFamily(
            f"{PREFIX}_log_lines_dropped", "Log lines that nobody read in time.", stderr.dropped() + stdout.dropped()
        )
        yield _gauge("build_info", "Always 1.", {(observed.identity.version,): 1}, ("version",))


def _counters(samples: Sequence[Sample]) -> Iterator[Metric]:
    yield _counter("claimed", "CDRs claimed.", samples, lambda one: one.claimed)
    yield _counter("delivered", "CDRs that the endpoint has answered 2xx.", samples, lambda one: one.delivered)
    yield _counter("acks_lost", "Delivered, and gone from processing before.", samples, lambda one: one.acks_lost)
    yield _counter("deferred", "Moved to the retry set.", samples, lambda one: one.deferred)
    yield _by("result", "attempts", "POSTs, by what came of them.", samples, lambda one: one.attempts)
    yield _by("reason", "dead_lettered", "Dead letters made.", samples, lambda one: one.dead_lettered)
    yield _histogram("attempt_duration_seconds", "Of one POST.", samples, lambda one: one.attempt_durations)
    yield _histogram("delivery_duration_seconds", "From claim to ack.", samples, lambda one: one.delivery_durations)


def _lanes(lanes: Sequence[LaneView]) -> Iterator[Metric]:
    gauges: dict[tuple[str, str], Callable[[LaneView], Number]] = {
        ("in_flight", "CDRs claimed, and not yet settled in Redis."): lambda lane: lane.report.in_flight,
        ("prefetched", "Those of them that wait for a worker."): lambda lane: lane.report.prefetched,
        ("oldest_in_flight_seconds", "Since the first of those was claimed."): lambda lane: lane.oldest_in_flight,
        ("breaker_open", "1 while the breaker is not closed: only probes are sent."): lambda lane: int(lane.is_open),
        ("last_delivery_timestamp_seconds", "Unix time; 0: none yet."): lambda lane: lane.metrics.last_delivery_at or 0,
    }
    for (name, text), value in gauges.items():
        yield _gauge(name, text, {_lane(lane.sample): value(lane) for lane in lanes}, LANE)


def _lists(samples: Sequence[Sample]) -> Iterator[Metric]:
    """Yield what was last seen in Redis; `endpoint="all"` is what waits for distribution."""
    gauges: dict[tuple[str, str], Callable[[Lengths], Number]] = {
        ("pending_length", "CDRs that wait in the pending list."): lambda lengths: lengths.pending,
        ("processing_length", "CDRs in the processing list of this process."): lambda lengths: lengths.processing,
        ("dead_length", "Dead letters."): lambda lengths: lengths.dead,
        ("retry_length", "Deferred CDRs, those handed out among them."): lambda lengths: lengths.deferred,
    }
    for (name, text), value in gauges.items():
        yield _gauge(name, text, {_lane(sample): value(sample.lengths) for sample in samples}, LANE)
    ages: dict[tuple[str, ...], Number] = {_lane(sample): sample.head_age for sample in samples}
    yield _gauge("pending_head_age_seconds", "For so long the oldest pending CDR is the same.", ages, LANE)
    yield _by("origin", "recovered", "Lost CDRs found in processing lists.", samples, lambda one: one.recovered)


def _operators(sources: Sequence[ObservedSource]) -> Iterator[Metric]:
    """Yield what operators did: on the page of this process, or by commands of which it was the one to learn."""
    counts: dict[tuple[str, str], Callable[[ObservedSource], Mapping[str, int]]] = {
        ("dead_letters_replayed", "Dead letters replayed by operators."): lambda one: one.work.replayed,
        ("dead_letters_dropped", "Dead letters dropped by operators."): lambda one: one.work.dropped,
        ("injected", "CDRs pushed by the command inject."): _injected,
    }
    for (name, text), numbers in counts.items():
        family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=LANE)
        for source in sources:
            for sample in source.samples:
                family.add_metric(_lane(sample), numbers(source).get(sample.metrics.endpoint, 0))
        yield family


def _injected(source: ObservedSource) -> Mapping[str, int]:
    return {source.samples[0].metrics.endpoint: source.work.injected}


def _redis(sources: Sequence[ObservedSource]) -> Iterator[Metric]:
    """Yield what is known of the Redis of each source."""
    up = {(one.name,): int(one.redis_up) for one in sources}
    yield _gauge("redis_up", "1 while Redis answers, and lets us in.", up, SOURCE)
    ratios = {(one.name,): one.sampler.memory_used_ratio for one in sources}
    used = "Memory that Redis uses, of what it may use or its host has; absent where Redis does not say."
    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    yield _gauge("redis_memory_used_ratio", used, known, SOURCE)
    others = {(one.name,): one.neighbours.foreign_consumers for one in sources}
    yield _gauge("foreign_consumers", "Forwarders of other integrators that take from our source.", others, SOURCE)


def _lane(sample: Sample) -> tuple[str, str]:
    """Return the values of the labels that every metric of a lane has."""
    return sample.metrics.endpoint, sample.keys.source


def _counter(
    name: str, text: str, samples: Sequence[Sample], value: Callable[[LaneMetrics], Number]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=LANE)
    for sample in samples:
        family.add_metric(_lane(sample), value(sample.metrics))
    return family


def _by(
    label: str, name: str, text: str, samples: Sequence[Sample], counts: Callable[[LaneMetrics], Mapping[Any, int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=[*LANE, label])
    for sample in samples:
        for value in LABELS[label]:
            family.add_metric([*_lane(sample), value], counts(sample.metrics).get(value, 0))
    return family


def _histogram(
    name: str, text: str, samples: Sequence[Sample], durations: Callable[[LaneMetrics], Durations]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"{PREFIX}_{name}", text, labels=LANE)
    for sample in samples:
        taken, total, buckets = durations(sample.metrics), 0, []
        for bound, count in zip((*BOUNDS, "+Inf"), taken.counts, strict=True):
            total += count
            buckets.append((str(bound), total))
        family.add_metric(_lane(sample), buckets, taken.seconds)
    return family


def _gauge(name: str, text: str, values: Mapping[Any, Number], labels: Sequence[str] = ()) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for names, value in values.items():
        family.add_metric(names, value)
    return family
