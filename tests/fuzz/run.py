"""Plays random scenes for a while."""

import asyncio
import time
from itertools import product
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.telemetry import log
from tests.fuzz.play import Client, find
from tests.fuzz.scripts import SCENES, Script

ROUND: Final = 5
TOGETHER: Final = 6

Scene = tuple[Script, ...]

WAYS: Final[tuple[tuple[Client, bool], ...]] = tuple(product(("direct", "httpx"), (True, False)))
"""Which client, and whether it keeps connections."""


def fuzz(seconds: float) -> int:
    """Play different scenes for so long, each with both clients; return how many. Fails at the first finding."""
    log.keep_silent()
    until, played = time.monotonic() + seconds, 0
    with asyncio.Runner() as runner:

        @settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(scenes=st.lists(SCENES, min_size=TOGETHER, max_size=TOGETHER))
        def one_round(scenes: list[Scene]) -> None:
            nonlocal played
            played += TOGETHER
            found = runner.run(_find_in_all(scenes))
            assert not found, found

        while time.monotonic() < until:
            one_round()
    return played


async def _find_in_all(scenes: list[Scene]) -> list[dict[str, list[str]]]:
    """Play all at once: most of the time of a scene is spent on waiting."""
    return list(filter(None, await asyncio.gather(*map(_find, scenes))))


async def _find(scene: Scene) -> dict[str, list[str]]:
    found = await asyncio.gather(*(find(scene, client, keep_alive=keep_alive) for client, keep_alive in WAYS))
    return {f"{way}": findings for way, findings in zip(WAYS, found, strict=True) if findings}
