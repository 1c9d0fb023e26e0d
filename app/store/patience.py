"""Ask Redis on behalf of a person: for a while, and then say what is wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from app.errors import TransientRedisError
from app.store.client import Link


async def ask(link: Link, command: str, send: Callable[[], Awaitable[Any]]) -> Any:
    """Send it for a while, until it is answered. Only for what may be applied twice. Raises the last error."""
    timings = link.timings
    return await AsyncRetrying(
        retry=retry_if_exception_type(TransientRedisError),
        stop=stop_after_delay(timings.command_patience),
        wait=wait_random_exponential(timings.shortest_pause, timings.longest_pause / 2),
        sleep=asyncio.sleep,
        reraise=True,
    )(link.call, command, send)
