"""The bytes of a request."""

import httpx

CLOSE = b"connection: close\r\n"


def head_of(request: httpx.Request, *, keeps_alive: bool) -> bytes:
    """Write the request line and the headers as they are given, `host` and `content-length` among them.

    Raises LocalProtocolError where a line break would make one header into two.
    """
    headers = request.headers.raw
    start = b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)
    head = start + b"".join([b"%b: %b\r\n" % header for header in headers])
    if head.count(b"\n") != len(headers) + 1 or head.count(b"\r") != len(headers) + 1:
        raise httpx.LocalProtocolError("a header has a line break")
    return head + b"\r\n" if keeps_alive else head + CLOSE + b"\r\n"


async def body_of(request: httpx.Request) -> bytes:
    stream = request.stream
    if isinstance(stream, httpx.SyncByteStream):
        return b"".join(stream)
    return b"".join([piece async for piece in stream])
