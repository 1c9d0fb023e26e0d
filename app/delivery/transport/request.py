"""Write the bytes of a request."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import httpx

CLOSE: Final = b"connection: close"

Header = tuple[bytes, bytes]


class Target:
    """Where an endpoint's POSTs go, and the headers that all of them have; their bytes are written once.

    Raises LocalProtocolError where a line break would make one header into two.
    """

    def __init__(self, url: httpx.URL, headers: Sequence[Header]) -> None:
        self.url = url
        self.headers = tuple(headers)
        empty = httpx.Request("POST", url, headers=[*headers], stream=httpx.ByteStream(b""))
        self.head = head_of(empty, keeps_alive=True).removesuffix(b"\r\n")


class Post(httpx.Request):
    """A POST whose head is written already, but for `own`: the headers of this one, which have no line breaks.

    httpx takes four times as long to make a request; its headers are made only where somebody asks for them.
    """

    def __init__(self, target: Target, own: Sequence[Header], body: bytes) -> None:
        self.method = "POST"
        self.url = target.url
        self.extensions = {}
        self.stream = httpx.ByteStream(body)
        self.body = body
        self._target, self._own = target, own

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]
        return httpx.Headers([*self._target.headers, *self._own])

    def head(self, *, keeps_alive: bool) -> bytes:
        own = b"".join([b"%b: %b\r\n" % header for header in self._own])
        return self._target.head + own + (b"\r\n" if keeps_alive else CLOSE + b"\r\n\r\n")


async def written(request: httpx.Request, *, keeps_alive: bool) -> tuple[bytes, bytes]:
    """Return the head and the body of a request."""
    if isinstance(request, Post):
        return request.head(keeps_alive=keeps_alive), request.body
    return head_of(request, keeps_alive=keeps_alive), await _body_of(request)


def head_of(request: httpx.Request, *, keeps_alive: bool) -> bytes:
    """Write the request line and the headers as they are given, `host` and `content-length` among them.

    Raises LocalProtocolError where a line break would make one header into two.
    """
    lines = [name + b": " + value for name, value in request.headers.raw]
    if not keeps_alive:
        lines.append(CLOSE)
    start = b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)
    head = start + b"\r\n".join(lines) + b"\r\n\r\n"
    if not head.count(b"\n") == head.count(b"\r") == len(lines) + 2:
        raise httpx.LocalProtocolError("a header has a line break")
    return head


async def _body_of(request: httpx.Request) -> bytes:
    stream = request.stream
    if isinstance(stream, httpx.SyncByteStream):
        return b"".join(stream)
    return b"".join([piece async for piece in stream])
