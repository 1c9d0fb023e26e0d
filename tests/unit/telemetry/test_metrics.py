"""What is counted of a lane."""

from app.telemetry.metrics import BOUNDS, Durations, LaneMetrics


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


def test_the_last_result_and_the_last_failure_are_known() -> None:
    """A success leaves the last failure as it was: it says why an outage lasts, and no more than its kind."""
    metrics = LaneMetrics("webhook")
    metrics.attempted("http_5xx", 0.1, 503)
    metrics.attempted("timeout", 0.1)
    metrics.attempted("success", 0.1, 204)
    assert (metrics.last_result, metrics.last_status, metrics.last_failure) == ("success", 204, "timeout")
    assert metrics.failed == 2
