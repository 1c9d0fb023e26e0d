"""Make attempts over httpx's own transport: through a proxy, or where HTTP_CLIENT=httpx asks for it."""

import ssl

import httpx

from app.config.endpoint import EndpointSettings
from app.delivery.failures import ConnectionLostError
from app.delivery.transport.connection import REQUEST_TIMEOUT
from app.delivery.transport.direct import KEEP_ALIVE
from app.delivery.transport.exchange import Exchange


class IndirectTransport(httpx.AsyncBaseTransport):
    """Behaves as DirectTransport does.

    httpx does the work, but what is an answer to which request is decided by our own parse of the bytes that it reads:
    httpx takes the second of two answers in one segment for that of the next request.
    """

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
        exchange = self._exchange()
        try:
            response = await exchange.make(self._reusing, request)
        except ConnectionLostError:
            if not exchange.is_reused:
                raise
        else:
            if response.status_code != REQUEST_TIMEOUT or not exchange.is_reused:
                return response
            await response.aclose()
        return await self._exchange().make(self._fresh, request)

    def _exchange(self) -> Exchange:
        return Exchange(self._connect_timeout, is_proxied=self._is_proxied)

    async def aclose(self) -> None:
        self._is_closed = True
        await self._reusing.aclose()
        await self._fresh.aclose()


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
