"""What is counted, and what an hour of it looks like."""

import pytest

from app.ops.sampler import MINUTES, Lengths, Sample
from app.store.keys import LaneKeys
from app.telemetry.metrics import BOUNDS, Durations, LaneMetrics, quantile


def durations(*seconds: float) -> Durations:
    made = Durations()
    for each in seconds:
        made.observe(each)
    return made


def test_a_bound_belongs_to_its_bucket() -> None:
    """As in Prometheus: le."""
    assert durations(BOUNDS[0]).counts[0] == 1
    assert durations(BOUNDS[0] + 1e-9).counts[1] == 1
    assert durations(BOUNDS[-1] + 1).counts[-1] == 1


def test_their_sum_is_kept() -> None:
    """For an average that no bucket makes coarse."""
    assert durations(0.25, 0.5).seconds == 0.75


@pytest.mark.parametrize(("part", "bound"), [(0.5, 0.005), (0.98, 0.005), (0.99, 10.0), (1.0, 10.0)])
def test_a_quantile_is_the_bound_of_its_bucket(part: float, bound: float) -> None:
    """Never less than the true one."""
    assert quantile(durations(*[0.001] * 98, 7.0, 8.0).counts, part) == bound


def test_there_is_no_quantile_of_nothing() -> None:
    """A minute without deliveries has none."""
    assert quantile(durations().counts, 0.5) is None


def test_a_quantile_of_very_long_ones_is_the_last_bound() -> None:
    """More is not known."""
    assert quantile(durations(10 * BOUNDS[-1]).counts, 0.5) == BOUNDS[-1]


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> Sample:
    """One whose minutes end whenever it is noted."""
    monkeypatch.setattr("app.ops.sampler.MINUTE", 0.0)
    return Sample(LaneKeys("i", "source"), "head", LaneMetrics("webhook"))


def test_a_minute_has_what_was_delivered_in_it(sample: Sample) -> None:
    """And not what was before."""
    sample.metrics.delivered = 3
    sample.metrics.delivery_durations.observe(0.2)
    sample.note(Lengths(), "")
    sample.metrics.delivered = 4
    sample.metrics.delivery_durations.observe(0.02)
    sample.note(Lengths(), "")
    assert [(minute.delivered, minute.p50, minute.p99) for minute in sample.hour] == [
        (3, 0.25, 0.25),
        (1, 0.025, 0.025),
    ]


def test_an_hour_is_kept(sample: Sample) -> None:
    """Memory does not grow."""
    for _ in range(2 * MINUTES):
        sample.note(Lengths(), "")
    assert len(sample.hour) == MINUTES


def test_the_head_ages_while_it_is_the_same(sample: Sample) -> None:
    """Another one, or none, begins anew."""
    sample.note(Lengths(pending=2), "a")
    first = sample.head_age
    assert sample.head_age > first
    sample.note(Lengths(pending=1), "b")
    assert sample.head_age < 1
    sample.note(Lengths(), "")
    assert sample.head_age == 0
