"""Attempts that take too long are ended, and nothing else is."""

import asyncio

import pytest

from app.delivery.deadline import Deadline, Deadlines


async def test_what_takes_too_long_is_ended() -> None:
    """As by asyncio.timeout: a TimeoutError, and the task goes on."""
    task = asyncio.current_task()
    assert task
    with pytest.raises(TimeoutError), Deadline(Deadlines(0.01)):
        await asyncio.Event().wait()
    assert task.cancelling() == 0


async def test_what_is_in_time_is_left_alone() -> None:
    """Its deadline goes with it, though the timer that it set is still there."""
    deadlines = Deadlines(0.01)
    with Deadline(deadlines):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.Event().wait()


async def test_each_has_its_own_time() -> None:
    """One that begins later ends later, by the same timer set anew; one that is done in between does not count."""
    deadlines, loop = Deadlines(0.05), asyncio.get_running_loop()
    lasted: list[float] = []

    async def takes_too_long(after: float) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(after):
                await asyncio.Event().wait()
        began = loop.time()
        with pytest.raises(TimeoutError), Deadline(deadlines):
            await asyncio.Event().wait()
        lasted.append(loop.time() - began)

    async with asyncio.TaskGroup() as tasks:
        for after in (0.0, 0.01, 0.02, 0.03):
            tasks.create_task(takes_too_long(after))
        with Deadline(deadlines):
            await asyncio.sleep(0)
    assert len(lasted) == 4
    assert min(lasted) >= 0.045


async def test_a_cancellation_by_somebody_else_is_not_swallowed() -> None:
    """Together with the end of the time: whoever cancels a task must see it end so."""
    held: list[Deadline] = []

    async def work() -> None:
        with Deadline(Deadlines(60)) as deadline:
            held.append(deadline)
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    held[0].cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_an_ended_attempt_raises_passes() -> None:
    """Its time is up, and it says something else of it than that."""

    async def says_something_else() -> None:
        with Deadline(Deadlines(0.01)):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise KeyError from None

    task = asyncio.current_task()
    assert task
    with pytest.raises(KeyError):
        await says_something_else()
    assert task.cancelling() == 0
