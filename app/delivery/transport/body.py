"""Read what follows the head of an answer that had not ended with it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import httpx

from app.delivery.transport.connection import Connection

PATIENCE: Final = 1.0
"""Seconds for which the rest of a 2xx is waited for: it decides nothing but whether the connection is used again."""

Release = Callable[[Connection], None]


class Body(httpx.AsyncByteStream):
    """Yields what arrives, up to MOST_BODY. Whoever stops reading drops the connection."""

    def __init__(self, connection: Connection, release: Release) -> None:
        self._connection = connection
        self._release = release
        self._until = asyncio.get_running_loop().time() + PATIENCE if connection.answer.is_success else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raise RemoteProtocolError or ReadError where it breaks off, ReadTimeout where a 2xx takes too long."""
        connection, answer = self._connection, self._connection.answer
        while True:
            while answer.pieces:
                yield answer.pieces.pop(0)
            if answer.has_ended or connection.is_lost:
                break
            await self._news()
        if not (answer.is_whole or answer.is_cut):
            raise connection.failure()
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connection, which is used again if the whole answer was received."""
        connection, release = self._connection, self._release
        self._release = _nothing
        release(connection)

    async def _news(self) -> None:
        try:
            async with asyncio.timeout_at(self._until):
                await self._connection.news()
        except TimeoutError:
            raise httpx.ReadTimeout("the rest of the answer takes too long") from None


class Cancelled(httpx.AsyncByteStream):
    """Raises, when it is read or closed, the cancellation that arrived together with an answer."""

    def __init__(self) -> None:
        self._is_due = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await self.aclose()
        yield b""

    async def aclose(self) -> None:
        if self._is_due:
            self._is_due = False
            raise asyncio.CancelledError


def _nothing(_: Connection) -> None:
    """Release once."""
