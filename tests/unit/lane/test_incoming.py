"""Operations that may still put CDRs into our processing list."""

import asyncio

import pytest

from app.lane.incoming import Incoming
from tests.support.harness import eventually


async def test_waits_for_those_under_way() -> None:
    """And for none that begins meanwhile: under steady claims it would never end."""
    incoming = Incoming()
    first, second = incoming.expected(), incoming.expected()
    first.__enter__()
    waiting = asyncio.create_task(incoming.ended())
    await eventually(lambda: waiting.get_coro().cr_await is not None)  # type: ignore[union-attr]
    second.__enter__()
    assert incoming
    first.__exit__(None, None, None)
    await waiting
    assert incoming
    second.__exit__(None, None, None)
    assert not incoming


async def test_nothing_under_way() -> None:
    """It ends at once."""
    await Incoming().ended()


async def test_one_that_failed_has_ended() -> None:
    """Its reply was lost, say."""
    incoming = Incoming()
    with pytest.raises(OSError, match="lost"), incoming.expected():
        raise OSError("lost")
    await incoming.ended()
    assert not incoming
