"""The bytes of a request."""

from typing import Final

import httpx

CLOSE: Final = b"connection: close"


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


async def body_of(request: httpx.Request) -> bytes:
    stream = request.stream
    if isinstance(stream, httpx.SyncByteStream):
        return b"".join(stream)
    return b"".join([piece async for piece in stream])
