"""Attempts are spread evenly over time."""

import pytest

from app.delivery.rate_limit import RateLimit
from tests.support.harness import passed


def made_at_once(limit: RateLimit, most: int) -> int:
    """Count attempts until one has to wait, `most` of them at most."""
    made = 0
    while not limit.wait() and made < most:
        limit.count()
        made += 1
    return made


def test_no_limit() -> None:
    """0: as many as there are."""
    limit = RateLimit(0)
    limit.count()
    assert limit.wait() == 0


@pytest.mark.parametrize(("rate", "burst"), [(100, 11), (20, 3), (1, 1)])
def test_a_tenth_of_a_second_at_once(rate: float, burst: int) -> None:
    """And one more: the first is always due. Behind them one waits its turn."""
    limit = RateLimit(rate)
    assert burst <= made_at_once(limit, 2 * burst) <= burst + 1
    assert 0 < limit.wait() <= 1 / rate


async def test_time_that_passed_is_not_saved_up() -> None:
    """After a while of nothing there is no burst of all that could have been made in it."""
    limit = RateLimit(100)
    limit.count()
    await passed(0.5)
    assert made_at_once(limit, 100) <= 12
