"""What is worked out from minutes: when a backlog will be gone, and what today is."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.ops.overview import midnight, seconds_to_drain
from app.store.minutes import Minute


def backlogs(*numbers: int) -> list[Minute]:
    now = int(time.time() // 60)
    return [Minute(now - len(numbers) + index, 0, 0, backlog) for index, backlog in enumerate(numbers, start=1)]


@pytest.mark.parametrize(
    ("minutes", "waiting", "seconds"),
    [
        ((1000, 800, 600), 600, 180),
        ((1000, 800), 500, 60),
        ((500, 500, 500), 500, None),
        ((100, 900), 900, None),
        ((1000, 0), 0, None),
        ((1000,), 900, None),
        ((), 900, None),
    ],
)
def test_a_backlog_is_drained_at_the_pace_of_the_last_minutes(
    minutes: tuple[int, ...], waiting: int, seconds: float | None
) -> None:
    """Nothing is promised where it does not shrink, or where too little is known."""
    assert seconds_to_drain(backlogs(*minutes), waiting) == (seconds and pytest.approx(seconds))


def test_what_is_long_past_says_nothing_of_the_pace() -> None:
    """It would make a standstill look like progress."""
    now = int(time.time() // 60)
    old = [Minute(now - 30, 0, 0, 10_000)]
    assert seconds_to_drain([*old, *backlogs(500, 500)], 500) is None


def test_today_is_that_of_the_reader() -> None:
    """Minutes are numbered from the epoch."""
    east = timezone(timedelta(hours=5, minutes=45))
    began = datetime.fromtimestamp(60 * midnight(east), UTC).astimezone(east)
    assert (began.hour, began.minute, began.date()) == (0, 0, datetime.now(east).date())
