"""Send one request over httpx's own transport, and watch its answer through httpcore's trace."""

import asyncio
import fcntl
import termios
from array import array
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, cast

import httpcore
import httpx
import socksio

from app.delivery.failures import FOREIGN_ERRORS, ConnectionLostError, cut_off, in_our_words, loss
from app.delivery.transport.answer import MOST_BODY, Answer
from app.delivery.transport.body import PATIENCE, Cancelled


class Exchange:
    """Learns what httpx does not tell: what is read, when it is connected, and when the request is written."""

    def __init__(self, connect_timeout: float, *, is_proxied: bool) -> None:
        self.answer = Answer()
        self.is_reused = True
        self._connect_timeout = connect_timeout
        self._is_proxied = is_proxied
        self._connecting: asyncio.Timeout
        self._stream: httpcore.AsyncNetworkStream | None = None
        self._is_head_due = self._is_early = self._is_written = False

    async def make(self, transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        request.extensions["trace"] = self._trace
        _current.set(self)
        stream: httpx.AsyncByteStream
        try:
            stream = _Body(await self._response(transport, request), self.answer)
        except (httpx.RemoteProtocolError, ConnectionLostError) as error:
            if not self._is_answered:
                raise cut_off() if self.answer.has_begun else error from None
            stream = httpx.ByteStream(b"".join(self.answer.pieces))
        except asyncio.CancelledError:
            if not self._is_answered:
                raise
            stream = Cancelled()
        if not self._is_answered:
            await stream.aclose()
            raise cut_off() if self.answer.has_begun else loss(None)
        return httpx.Response(self.answer.status, headers=self.answer.headers, stream=stream)

    @property
    def _is_answered(self) -> bool:
        return self.answer.status > 0 and (not self.answer.is_success or (self._is_written and not self._is_early))

    def wrote(self, stream: httpcore.AsyncNetworkStream) -> None:
        """See whether an answer had come when no more than the head of the request was written."""
        if self._is_head_due:
            self._is_head_due = False
            self._is_early = _has_unread(stream)

    async def _response(self, transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(self._connect_timeout) as self._connecting:
                return await transport.handle_async_request(request)
        except TimeoutError:
            raise httpx.ConnectTimeout("not connected in time") from None
        except httpx.TransportError as error:
            raise in_our_words(error, is_proxied=self._is_proxied) from None
        except socksio.SOCKSError:
            raise httpx.ProxyError("the proxy does not speak SOCKS5") from None
        except FOREIGN_ERRORS as error:
            raise ConnectionLostError(type(error).__name__) from None
        finally:
            await self._hang_up()

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(".connect_tcp.started"):
            self.is_reused = False
        elif event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._stream = info["return_value"]
            _watch(self._stream)
        elif event == "http11.send_request_headers.started":
            self._is_written = False
            self.answer = Answer()
            if info["request"].method != b"CONNECT":
                self._is_connected()
        elif event == "http11.send_request_body.complete":
            self._is_written = True

    def _is_connected(self) -> None:
        """End the deadline of connecting; refuse a new connection on which an answer lies already."""
        self._connecting.reschedule(None)
        stream, self._stream = self._stream, None
        self._is_head_due = True
        if stream and _has_unread(stream):
            raise httpx.RemoteProtocolError("an answer before the request was written")

    async def _hang_up(self) -> None:
        """Close a connection that was cut off while it was made: httpcore forgets it then."""
        stream, self._stream = self._stream, None
        if stream:
            await stream.aclose()


class _Body(httpx.AsyncByteStream):
    """Reads a body as that of our own connections does."""

    def __init__(self, response: httpx.Response, answer: Answer) -> None:
        self._response = response
        self._answer = answer
        self._until = asyncio.get_running_loop().time() + PATIENCE if answer.is_success else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(cast("httpx.AsyncByteStream", self._response.stream))
        left = MOST_BODY
        while left and (piece := await self._next(pieces)):
            yield piece[:left]
            left -= min(left, len(piece))
        await self.aclose()

    async def aclose(self) -> None:
        with suppress(httpx.TransportError, *FOREIGN_ERRORS):
            if not self._answer.is_reusable:
                await self._response.extensions["network_stream"].aclose()
            await self._response.aclose()

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Return nothing at the end."""
        try:
            async with asyncio.timeout_at(self._until):
                return await anext(pieces, b"")
        except TimeoutError:
            raise httpx.ReadTimeout("the rest of the answer takes too long") from None
        except FOREIGN_ERRORS as error:
            raise ConnectionLostError(type(error).__name__) from None


_current: Final[ContextVar[Exchange]] = ContextVar("_current")
"""Whose bytes are being read: httpx reads them in the task of the attempt."""


def _watch(stream: httpcore.AsyncNetworkStream) -> None:
    """Show what is read and written to the exchange under way; httpcore's trace leaves that out."""
    read, write = stream.read, stream.write

    async def watched_read(*arguments: Any, **options: Any) -> bytes:
        data = await read(*arguments, **options)
        answer = _current.get().answer
        if data and not answer.has_ended:
            answer.feed(data)
        return data

    async def watched_write(*arguments: Any, **options: Any) -> None:
        await write(*arguments, **options)
        _current.get().wrote(stream)

    stream.read, stream.write = watched_read, watched_write  # type: ignore[method-assign]


def _has_unread(stream: httpcore.AsyncNetworkStream) -> bool:
    """Tell whether the kernel holds bytes for us. With TLS nobody can tell: they may be a session ticket."""
    number = array("i", [0])
    with suppress(OSError, ValueError):  # it is closed
        if stream.get_extra_info("ssl_object") is None:
            fcntl.ioctl(stream.get_extra_info("socket").fileno(), termios.FIONREAD, number)
    return number[0] > 0
