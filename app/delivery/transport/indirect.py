"""Attempts over httpx's own transport: through a proxy, or where HTTP_CLIENT=httpx asks for it."""

import asyncio
import fcntl
import ssl
import termios
from array import array
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final, cast

import httpcore
import httpx

from app.config.endpoint import EndpointSettings
from app.delivery.failures import FOREIGN_ERRORS, ConnectionLostError, in_our_words
from app.delivery.transport.answer import MOST_BODY
from app.delivery.transport.body import PATIENCE
from app.delivery.transport.connection import REQUEST_TIMEOUT
from app.delivery.transport.direct import KEEP_ALIVE

SWITCHING_PROTOCOLS: Final = 101


class IndirectTransport(httpx.AsyncBaseTransport):
    """Behaves as DirectTransport does, except that a 2xx is refused for some of what may follow its status."""

    def __init__(self, endpoint: EndpointSettings, tls: ssl.SSLContext) -> None:
        self._connect_timeout = endpoint.connect_timeout
        self._is_proxied = endpoint.proxy is not None
        self._keeps_alive = endpoint.keep_alive
        self._reusing = _httpx_transport(endpoint, tls, idle=endpoint.concurrency if endpoint.keep_alive else 0)
        self._fresh = _httpx_transport(endpoint, tls, idle=0)
        self._is_closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raise nothing but httpx.TransportError."""
        if self._is_closed:
            raise httpx.ConnectError("the transport is closed")
        if not self._keeps_alive:
            request.headers["connection"] = "close"
        attempt = _Attempt(request.extensions, self._connect_timeout, is_proxied=self._is_proxied)
        try:
            response = await attempt.make(self._reusing, request)
        except ConnectionLostError:
            if not attempt.is_reused:
                raise
        else:
            if response.status_code != REQUEST_TIMEOUT or not attempt.is_reused:
                return response
            await response.aclose()
        return await attempt.make(self._fresh, request)

    async def aclose(self) -> None:
        self._is_closed = True
        await self._reusing.aclose()
        await self._fresh.aclose()


class _Attempt:
    """Sees, by httpcore's trace, what httpx does not tell: when it is connected, and when the request is written."""

    def __init__(self, extensions: dict[str, Any], connect_timeout: float, *, is_proxied: bool) -> None:
        extensions["trace"] = self._trace
        self.is_reused = True
        self._connect_timeout = connect_timeout
        self._is_proxied = is_proxied
        self._connecting: asyncio.Timeout
        self._stream: httpcore.AsyncNetworkStream | None = None
        self._is_written = False

    async def make(self, transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        self.is_reused = True
        response = await self._response(transport, request)
        if response.status_code == SWITCHING_PROTOCOLS or (response.is_success and not self._is_written):
            await response.aclose()
            raise httpx.RemoteProtocolError("not an answer to the request")
        return httpx.Response(response.status_code, headers=response.headers, stream=_Body(response))

    async def _response(self, transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(self._connect_timeout) as self._connecting:
                return await transport.handle_async_request(request)
        except TimeoutError:
            raise httpx.ConnectTimeout("not connected in time") from None
        except httpx.TransportError as error:
            raise in_our_words(error, is_proxied=self._is_proxied) from None
        except FOREIGN_ERRORS as error:
            raise ConnectionLostError(type(error).__name__) from None
        finally:
            await self._hang_up()

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(".connect_tcp.started"):
            self.is_reused = False
        elif event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._stream = info["return_value"]
        elif event == "http11.send_request_headers.started":
            self._is_written = False
            if info["request"].method != b"CONNECT":
                self._is_connected()
        elif event == "http11.send_request_body.complete":
            self._is_written = True

    def _is_connected(self) -> None:
        """End the deadline of connecting; refuse a new connection on which an answer lies already."""
        self._connecting.reschedule(None)
        stream, self._stream = self._stream, None
        if stream and stream.get_extra_info("ssl_object") is None and _unread(stream):
            raise httpx.RemoteProtocolError("an answer before the request was written")

    async def _hang_up(self) -> None:
        """Close a connection that was cut off while it was made: httpcore forgets it then."""
        stream, self._stream = self._stream, None
        if stream:
            await stream.aclose()


class _Body(httpx.AsyncByteStream):
    """As that of our own connections."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._until = asyncio.get_running_loop().time() + PATIENCE if response.is_success else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(cast("httpx.AsyncByteStream", self._response.stream))
        left = MOST_BODY
        while left and (piece := await self._next(pieces)):
            yield piece[:left]
            left -= min(left, len(piece))

    async def aclose(self) -> None:
        with suppress(httpx.TransportError, *FOREIGN_ERRORS):
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


def _unread(stream: httpcore.AsyncNetworkStream) -> int:
    """Return how many bytes the kernel holds for us."""
    number = array("i", [0])
    fcntl.ioctl(stream.get_extra_info("socket").fileno(), termios.FIONREAD, number)
    return number[0]


def _httpx_transport(endpoint: EndpointSettings, tls: ssl.SSLContext, idle: int) -> httpx.AsyncHTTPTransport:
    return httpx.AsyncHTTPTransport(
        verify=tls,
        trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=idle, keepalive_expiry=KEEP_ALIVE),
        proxy=_proxy(endpoint.proxy.get_secret_value(), tls) if endpoint.proxy else None,
    )


def _proxy(proxy: str, tls: ssl.SSLContext) -> httpx.Proxy:
    url = httpx.URL(proxy)
    return httpx.Proxy(url, ssl_context=tls if url.scheme == "https" else None)
