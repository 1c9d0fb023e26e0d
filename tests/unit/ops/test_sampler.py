"""A sample: what is kept of a lane's lists, and of its last hour."""

from app.ops.sampler import Lengths, Sample, used_ratio
from app.store.keys import LaneKeys
from app.store.minutes import A_DAY, Minute
from app.telemetry.metrics import LaneMetrics


def a_sample() -> Sample:
    return Sample(LaneKeys("i", "source"), "head", LaneMetrics("webhook"))


def test_a_minute_has_what_happened_in_it() -> None:
    """And not what was before; its backlog is what was last seen."""
    sample = a_sample()
    sample.begin(100)
    sample.metrics.delivered = 3
    sample.note(Lengths(pending=5, processing=7, dead=9, retry=2, retrying=1), "head")
    sample.begin(100)
    sample.begin(101)
    sample.metrics.delivered = 4
    sample.metrics.attempted("http_5xx", 0.1, 503)
    sample.note(Lengths(), "")
    sample.begin(102)
    assert list(sample.unsent) == [Minute(100, 3, 0, 8), Minute(101, 1, 1, 0)]
    assert sample.written == 2


def test_a_minute_is_written_in_parts_while_it_runs() -> None:
    """So that nobody sees it a minute late; not again where nothing happened, nor while Redis takes nothing."""
    sample = a_sample()
    sample.begin(100)
    sample.metrics.delivered = 3
    sample.write_part()
    sample.metrics.delivered = 5
    sample.write_part()
    assert list(sample.unsent) == [Minute(100, 3, 0, 0)]
    sample.unsent.clear()
    sample.write_part()
    sample.begin(101)
    sample.write_part()
    assert list(sample.unsent) == [Minute(100, 2, 0, 0), Minute(100, 0, 0, 0)]


def test_a_day_is_kept() -> None:
    """Memory does not grow, however long Redis takes nothing."""
    sample = a_sample()
    for minute in range(1, 2 * A_DAY):
        sample.begin(minute)
    assert len(sample.unsent) == A_DAY
    assert sample.unsent[-1].minute == 2 * A_DAY - 2


def test_a_clock_that_is_set_back_begins_another_minute() -> None:
    """What was counted is not lost."""
    sample = a_sample()
    sample.begin(100)
    sample.metrics.delivered = 3
    sample.begin(40)
    sample.metrics.delivered = 4
    sample.begin(41)
    assert [(each.minute, each.delivered) for each in sample.unsent] == [(100, 3), (40, 1)]


def test_the_head_ages_while_it_is_the_same() -> None:
    """Another one, or none, begins anew."""
    sample = a_sample()
    sample.note(Lengths(pending=2), "a")
    first = sample.head_age
    assert sample.head_age > first
    sample.note(Lengths(pending=1), "b")
    assert sample.head_age < 1
    sample.note(Lengths(), "")
    assert sample.head_age == 0


def test_memory_is_of_what_redis_may_use() -> None:
    """Else of its host's; nothing where it does not say."""
    assert used_ratio({"used_memory": 50, "maxmemory": 100, "total_system_memory": 1000}) == 0.5
    assert used_ratio({"used_memory": 50, "maxmemory": 0, "total_system_memory": 1000}) == 0.05
    assert used_ratio({"used_memory": 50, "maxmemory": 0}) is None
    assert used_ratio({}) is None
