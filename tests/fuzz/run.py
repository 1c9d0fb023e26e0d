"""Plays random scenes for a while."""

import asyncio
import time
from itertools import product
from typing import Final

from hypothesis import HealthCheck, given, settings

from app.telemetry import events
from tests.fuzz.play import Client, find
from tests.fuzz.scripts import SCENES, Script

ROUND: Final = 50
WAYS: Final[tuple[tuple[Client, bool], ...]] = tuple(product(("direct", "httpx"), (True, False)))
"""Which client, and whether it keeps connections."""


def fuzz(seconds: float) -> int:
    """Play different scenes for so long, each with both clients; return how many. Fails at the first finding."""
    events.keep_silent()
    until, played = time.monotonic() + seconds, 0
    with asyncio.Runner() as runner:

        @settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(scene=SCENES)
        def one_round(scene: tuple[Script, ...]) -> None:
            nonlocal played
            played += 1
            for client, keep_alive in WAYS:
                found = runner.run(find(scene, client, keep_alive=keep_alive))
                assert not found, f"{client}, keep_alive={keep_alive}: {found}"

        while time.monotonic() < until:
            one_round()
    return played
