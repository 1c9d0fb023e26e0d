"""Events that may come by the thousand are summed."""

from app.telemetry.tally import Tally
from tests.support.harness import eventually, passed


async def test_first_at_once_and_the_rest_together() -> None:
    """A minute in which nothing came begins anew with the next one."""
    told: list[dict[str, int]] = []
    tally = Tally(told.append, 0.03)
    for about in "abcc":
        tally.add(about)
    assert told == [{"a": 1}]
    await eventually(lambda: told == [{"a": 1}, {"b": 1, "c": 2}])
    await passed(0.05)
    tally.add("d")
    assert told[2:] == [{"d": 1}]
    tally.close()


async def test_an_end_tells_the_rest() -> None:
    """Nothing is left out because the minute is not over."""
    told: list[dict[str, int]] = []
    tally = Tally(told.append, 60)
    for about in "ab":
        tally.add(about)
    tally.close()
    tally.close()
    assert told == [{"a": 1}, {"b": 1}]
