"""Waiting on the clock of the event loop, for scenes that last a given time."""

import asyncio
from collections.abc import AsyncIterator


def clock() -> float:
    return asyncio.get_running_loop().time()


async def until(moment: float) -> None:
    """Return when `clock` shows this moment."""
    reached = asyncio.Event()
    asyncio.get_running_loop().call_at(moment, reached.set)
    await reached.wait()


async def paced(number: int, per_second: float) -> AsyncIterator[int]:
    """Yield 0, 1, 2, … at this pace; a slow caller does not shift the later ones."""
    began = clock()
    for count in range(number):
        await until(began + count / per_second)
        yield count
