"""Ask Redis for what no delivery depends on."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from app.errors import ForwarderError
from app.store.client import Link, cancels_so_far, heed_cancel
from app.store.meaning import FOREIGN_ERRORS, meaning


async def optional(send: Callable[[], Awaitable[Any]]) -> Any:
    """Send it once. Returns None, and tells nobody, if Redis is away or refuses it."""
    with suppress(ForwarderError):
        return await _once(send)
    return None


async def ask_once(_link: Link, _command: str, send: Callable[[], Awaitable[Any]]) -> Any:
    """Send it once. Raises our errors, and tells nobody else: neither the log, nor whoever asks for readiness."""
    return await _once(send)


async def _once(send: Callable[[], Awaitable[Any]]) -> Any:
    cancels = cancels_so_far()
    try:
        return await send()
    except FOREIGN_ERRORS as error:
        raise meaning(error) from error
    finally:
        heed_cancel(cancels)
