"""Make attempts over our own connections, without a proxy."""

import asyncio
import ssl
from collections import deque
from typing import Final

import httpx

from app.config.endpoint import EndpointSettings
from app.delivery.resolver import Resolver
from app.delivery.transport.body import Body, Cancelled
from app.delivery.transport.connection import Connection, Origin
from app.delivery.transport.dial import Dialer
from app.delivery.transport.request import written
from app.delivery.transport.response import Response
from app.telemetry import events
from app.telemetry.outages import Reminder

KEEP_ALIVE: Final = 4.0
"""Seconds until an idle connection is closed. Many receivers close after 5 s."""

STRAY_EVENT_INTERVAL: Final = 60.0

NO_BODY: Final = httpx.ByteStream(b"")


class DirectTransport(httpx.AsyncBaseTransport):
    """Sends exactly what it is given, once: no redirect, cookie, decompression or environment proxy.

    A connection for each attempt under way: how many, is the caller's to limit. Its deadline is, too.
    """

    def __init__(
        self, endpoint: EndpointSettings, tls: ssl.SSLContext, resolver: Resolver, keep_alive: float = KEEP_ALIVE
    ) -> None:
        self._dialer = Dialer(tls, endpoint.connect_timeout, resolver, self._on_stray)
        self._endpoint = endpoint.name
        self._keeps_alive = endpoint.keep_alive
        self._keep_alive = keep_alive
        self._idle: dict[Origin, deque[Connection]] = {}
        self._closing: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._stray_reminder = Reminder(STRAY_EVENT_INTERVAL)
        self._url: httpx.URL | None = None
        self._url_origin = Origin(b"", b"", None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return once the status is known; the rest is in the stream. Raise nothing but httpx.TransportError.

        A stream that is an httpx.ByteStream is whole: it need not be read or closed. All others must be both: an
        answer that arrives together with a cancellation is returned, and its stream raises the cancellation.

        A receiver may close an idle connection just when we use it again. That says nothing about the request, so
        it is sent once more, at once.
        """
        head, body = await written(request, keeps_alive=self._keeps_alive)
        origin = self._origin(request.url)
        connection = await self._idle_one(origin) or await self._new_one(origin)
        is_cancelled = await _exchange(connection, head, body)
        if connection.is_stale and not is_cancelled:
            connection.abort()
            connection = await self._new_one(origin)
            is_cancelled = await _exchange(connection, head, body)
        return self._response(connection, is_cancelled=is_cancelled)

    async def aclose(self) -> None:
        """Close what is idle. What is under way goes on, and is closed after that."""
        self._is_closed = True
        if self._closing is not None:
            self._closing.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    def _response(self, connection: Connection, *, is_cancelled: bool) -> httpx.Response:
        answer = connection.answer
        if not connection.is_answered:
            error = connection.failure()
            connection.abort()
            raise error
        stream: httpx.AsyncByteStream = NO_BODY
        if is_cancelled:
            stream = Cancelled()
        elif not (answer.is_whole or answer.is_cut):
            stream = Body(connection, self._release)
        else:
            if answer.pieces:
                stream = httpx.ByteStream(b"".join(answer.pieces))
            self._release(connection)
        return Response(answer.status, answer.headers, stream)

    # Connections

    def _origin(self, url: httpx.URL) -> Origin:
        """Return where a URL leads; an endpoint has one URL, and httpx takes it apart each time it is asked."""
        if url is not self._url:
            self._url, self._url_origin = url, Origin(url.raw_scheme, url.raw_host, url.port)
        return self._url_origin

    async def _idle_one(self, origin: Origin) -> Connection | None:
        """Return the one that was used last, if nothing has arrived on it since."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if await connection.is_quiet():
                return connection
            connection.abort()
        return None

    async def _new_one(self, origin: Origin) -> Connection:
        if self._is_closed:
            raise httpx.ConnectError("the transport is closed")
        connection = await self._dialer.dial(origin)
        if not await connection.is_quiet():
            connection.abort()
            raise connection.failure()
        return connection

    def _release(self, connection: Connection) -> None:
        """Take a connection back from the attempt that it belonged to."""
        answer = connection.answer
        if answer.is_followed:
            self._on_stray()
        if not answer.is_whole:
            connection.abort()
        elif not answer.is_reusable or connection.is_early or not self._keeps_alive or self._is_closed:
            connection.close()
        elif not connection.is_lost:
            loop = asyncio.get_running_loop()
            connection.rest(now := loop.time())
            self._idle.setdefault(connection.origin, deque()).append(connection)
            if self._closing is None:
                self._closing = loop.call_at(now + self._keep_alive, self._close_idle)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        since = loop.time() - self._keep_alive
        for idle in self._idle.values():
            while idle and idle[0].idle_since <= since:
                idle.popleft().close()
        oldest = min((idle[0].idle_since for idle in self._idle.values() if idle), default=None)
        self._closing = None if oldest is None else loop.call_at(oldest + self._keep_alive, self._close_idle)

    def _on_stray(self) -> None:
        """Tell a person, once in a while."""
        if self._stray_reminder.is_due():
            events.bytes_unasked(self._endpoint)


async def _exchange(connection: Connection, head: bytes, body: bytes) -> bool:
    """Send a request. True: cancelled, but together with an answer, which must not be lost for that."""
    try:
        await connection.exchange(head, body)
    except asyncio.CancelledError:
        connection.abort()
        if not connection.is_answered:
            raise
        return True
    return False
