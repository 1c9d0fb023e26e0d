"""Write the bytes of a request."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import httpx

CLOSE: Final = b"connection: close"

Header = tuple[bytes, bytes]


class Target:
    """Says where an endpoint's POSTs go, and the headers that all of them have; their bytes are written once.

    `own`: the names of those whose values differ from one POST to the next.
    Raises LocalProtocolError where a line break would make one header into two.
    """

    def __init__(self, url: httpx.URL, headers: Sequence[Header], own: Sequence[bytes]) -> None:
        self.url = url
        self.headers, self.own = tuple(headers), tuple(own)
        empty = httpx.Request("POST", url, headers=[*headers], stream=httpx.ByteStream(b""))
        same = head_of(empty, keeps_alive=True).removesuffix(b"\r\n")
        self.head = b"".join([same.replace(b"%", b"%%"), *(name.replace(b"%", b"%%") + b": %b\r\n" for name in own)])


class Post(httpx.Request):
    """Makes a POST of a written head and of `values`: those of the target's own headers, without line breaks.

    httpx takes ten times as long to make a request; what it has besides is made only where somebody asks for it.
    """

    method = "POST"
    awaits = ""
    """Whom it waits for before it is sent, as host and port; empty: nobody."""

    def __init__(self, target: Target, values: tuple[bytes, ...], body: bytes) -> None:
        self.url = target.url
        self.body = body
        self._target, self._values = target, values

    def with_more(self, *values: bytes) -> "Post":
        """Return it with values that were not known before: those of the last of the target's own headers."""
        return Post(self._target, (*self._values, *values), self.body)

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]
        return httpx.Headers([*self._target.headers, *zip(self._target.own, self._values, strict=True)])

    @cached_property
    def stream(self) -> httpx.ByteStream:  # type: ignore[override]
        return httpx.ByteStream(self.body)

    @cached_property
    def extensions(self) -> dict[str, Any]:  # type: ignore[override]
        return {}

    def head(self, *, keeps_alive: bool) -> bytes:
        return self._target.head % self._values + (b"\r\n" if keeps_alive else CLOSE + b"\r\n\r\n")


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
