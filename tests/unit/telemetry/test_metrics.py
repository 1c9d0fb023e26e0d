"""What is counted of a lane."""

import pytest

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


def test_the_last_result_and_the_last_failure_are_known() -> None:
    """A success leaves the last failure as it was: it says why an outage lasts, and no more than its kind."""
    metrics = LaneMetrics("webhook")
    metrics.attempted("http_5xx", 0.1, 503)
    metrics.attempted("timeout", 0.1)
    metrics.attempted("success", 0.1, 204)
    assert (metrics.last_result, metrics.last_status, metrics.last_failure) == ("success", 204, "timeout")
    assert metrics.failed == 2
