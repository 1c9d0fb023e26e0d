"""How much is claimed ahead of free workers."""

from app.config.timings import Timings
from app.lane.room import Room
from tests.support.harness import passed


def test_doubles_when_workers_starve() -> None:
    """To the most."""
    room = Room(4, Timings(prefetch=20))
    numbers = [room.limit]
    for _ in range(4):
        room.grow()
        numbers.append(room.limit)
    assert numbers == [8, 12, 20, 24, 24]


async def test_shrinks_after_a_while_of_plenty() -> None:
    """A quarter at a time, and not below one for each worker."""
    room = Room(4, Timings(plenty=0.02))
    for _ in range(3):
        room.grow()
    room.shrink_in_time()
    assert room.limit == 36
    numbers = []
    for _ in range(9):
        await passed(0.021)
        room.shrink_in_time()
        room.shrink_in_time()
        numbers.append(room.limit)
    assert numbers == [28, 22, 17, 13, 10, 8, 8, 8, 8]


async def test_starving_begins_the_while_anew() -> None:
    """None of the workers may have starved for all of it."""
    room = Room(4, Timings(plenty=0.02))
    await passed(0.021)
    room.grow()
    room.shrink_in_time()
    assert room.limit == 12
