"""Events that may come by the thousand are summed."""

from app.telemetry.tally import Tally


async def test_first_at_once_and_the_rest_together() -> None:
    """A minute in which nothing came begins anew with the next one."""
    told: list[tuple[int, str]] = []
    tally = Tally(lambda number, about: told.append((number, about)))
    for about in "abc":
        tally.add(about)
    assert told == [(1, "a")]
    tally._end()
    assert told == [(1, "a"), (2, "c")]
    tally._end()
    tally.add("d")
    assert told[2:] == [(1, "d")]
