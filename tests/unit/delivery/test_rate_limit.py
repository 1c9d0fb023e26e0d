"""Attempts are spread evenly over time."""

import time

import pytest

from app.delivery.rate_limit import RateLimit


def test_no_limit() -> None:
    """0: as many as there are."""
    limit = RateLimit(0)
    limit.count()
    assert limit.wait() == 0


@pytest.mark.parametrize(("rate", "burst"), [(100, 11), (20, 3), (1, 1)])
def test_a_tenth_of_a_second_at_once(rate: float, burst: int) -> None:
    """And one more: the first is always due. Behind them one waits its turn."""
    limit = RateLimit(rate)
    made = 0
    while not limit.wait() and made < 2 * burst:
        limit.count()
        made += 1
    assert burst <= made <= burst + 1
    assert 0 < limit.wait() <= 1 / rate


def test_time_that_passed_is_not_saved_up() -> None:
    """After an hour of nothing there is no burst of an hour."""
    limit = RateLimit(100)
    limit._allowed_at = time.monotonic() - 3600
    limit.count()
    assert limit._allowed_at > time.monotonic()
