"""Ask Redis for what no delivery depends on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from app.store.meaning import FOREIGN_ERRORS


async def optional(send: Callable[[], Awaitable[Any]]) -> Any:
    """Send it once. Returns None, and tells nobody, if Redis is away or refuses it."""
    task = asyncio.current_task()
    cancels = task.cancelling() if task else 0
    try:
        reply = await send()
    except FOREIGN_ERRORS:
        reply = None
    if task and task.cancelling() > cancels:  # before Python 3.12 redis-py may swallow a cancellation
        raise asyncio.CancelledError
    return reply
