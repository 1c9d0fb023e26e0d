"""Events that may come by the thousand are summed."""

from app.telemetry.tally import Tally
from tests.support.harness import eventually, passed


async def test_first_at_once_and_the_rest_together() -> None:
    """A minute in which nothing came begins anew with the next one."""
    told: list[tuple[int, str]] = []
    tally = Tally(lambda number, about: told.append((number, about)), 0.03)
    for about in "abc":
        tally.add(about)
    assert told == [(1, "a")]
    await eventually(lambda: told == [(1, "a"), (2, "c")])
    await passed(0.05)
    tally.add("d")
    assert told[2:] == [(1, "d")]
