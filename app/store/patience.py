"""How long a command waits for Redis before it says so."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from app.errors import TransientRedisError
from app.store.client import Link

PATIENCE: Final = 10.0
"""Seconds: a failover, or a restart, passes unnoticed."""

LONGEST_PAUSE: Final = 1.0


async def ask(link: Link, command: str, send: Callable[[], Awaitable[Any]]) -> Any:
    """Send it until it is answered, for a while: only for what may be applied twice. Raises what came last."""
    now = asyncio.get_running_loop().time
    deadline, pause = now() + PATIENCE, 0.02
    while True:
        try:
            return await link.call(command, send)
        except TransientRedisError:
            if now() + pause > deadline:
                raise
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter, not a secret
        pause = min(2 * pause, LONGEST_PAUSE)
