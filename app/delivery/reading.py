"""Read the body of an answer, as far as it is wanted."""

from contextlib import suppress
from typing import Final, cast

import httpx

MOST_ANSWER_BYTES: Final = 64 * 1024


async def read(response: httpx.Response, most: int) -> bytes:
    """Read a little of the answer, so that its connection can be used again; return its first bytes, `most` at most."""
    if isinstance(response.stream, httpx.ByteStream):  # it is whole, and its connection is free
        return b"".join(response.stream)[:most]
    kept, length = b"", 0
    try:
        async for chunk in cast("httpx.AsyncByteStream", response.stream):
            length += len(chunk)
            kept = (kept + chunk)[:most]
            if length > MOST_ANSWER_BYTES:
                break
    finally:
        with suppress(httpx.TransportError):
            await response.aclose()
    return kept
