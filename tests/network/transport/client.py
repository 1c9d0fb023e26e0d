"""The transports under test, and what a caller does with them."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx
import pytest
from pydantic import SecretStr

from app.config.endpoint import EndpointSettings
from app.delivery.transport import build_transport

BODY: Final = b'{"type": "cdr", "payload": {"number": "0825550142"}}\xff\x00'

OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def endpoint(**overrides: Any) -> EndpointSettings:
    return EndpointSettings(name="crm", url=SecretStr("http://127.0.0.1/hook"), **({"concurrency": 4} | overrides))


async def post(over: httpx.AsyncBaseTransport, url: str, body: bytes = BODY) -> int:
    """Do what an endpoint does with one request: send it, read the answer, let go of it."""
    status, _ = await answer(over, url, body)
    return status


async def answer(over: httpx.AsyncBaseTransport, url: str, body: bytes = BODY) -> tuple[int, bytes]:
    """Return the status and what was received of the body."""
    async with asyncio.timeout(20):
        response = await over.handle_async_request(request(url, body))
        try:
            received = b"".join([piece async for piece in response.aiter_raw()])
        finally:
            await response.aclose()
    return response.status_code, received


async def post_fails(over: httpx.AsyncBaseTransport, url: str, body: bytes = BODY) -> httpx.TransportError:
    with pytest.raises(httpx.TransportError) as caught:
        await post(over, url, body)
    return caught.value


async def status_of(over: httpx.AsyncBaseTransport, url: str, body: bytes = BODY) -> int:
    """Return the status alone, as it decides, whatever becomes of the body."""
    async with asyncio.timeout(20):
        response = await over.handle_async_request(request(url, body))
    await response.aclose()
    return response.status_code


def request(url: str, body: bytes = BODY) -> httpx.Request:
    return httpx.Request("POST", url, content=body)


@dataclass(frozen=True)
class Client:
    """One of the two; `direct` is ours."""

    kind: Literal["direct", "httpx"]

    @property
    def is_ours(self) -> bool:
        return self.kind == "direct"

    def transport(self, **overrides: Any) -> httpx.AsyncBaseTransport:
        return build_transport(endpoint(http_client=self.kind, **overrides))

    async def post_fails(self, url: str, **overrides: Any) -> httpx.TransportError:
        async with self.transport(**overrides) as over:
            return await post_fails(over, url)
