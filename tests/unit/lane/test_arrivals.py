"""Operations that may still put CDRs into our processing list."""

import asyncio

import pytest

from app.lane.arrivals import Arrivals
from tests.support.harness import eventually


async def test_waits_for_those_under_way() -> None:
    """And for none that begins meanwhile: under steady claims it would never end."""
    arrivals = Arrivals()
    first, second = arrivals.announced(), arrivals.announced()
    first.__enter__()
    waiting = asyncio.create_task(arrivals.ended())
    await eventually(lambda: waiting.get_coro().cr_await is not None)  # type: ignore[union-attr]
    second.__enter__()
    assert arrivals
    first.__exit__(None, None, None)
    await waiting
    assert arrivals
    second.__exit__(None, None, None)
    assert not arrivals


async def test_nothing_under_way() -> None:
    """It ends at once."""
    await Arrivals().ended()


async def test_one_that_failed_has_ended() -> None:
    """Its reply was lost, say."""
    arrivals = Arrivals()
    with pytest.raises(OSError, match="lost"), arrivals.announced():
        raise OSError("lost")
    await arrivals.ended()
    assert not arrivals
