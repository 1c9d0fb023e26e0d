"""Make a response cheaply."""

from collections.abc import Sequence
from functools import cached_property

import httpx

from app.delivery.transport.request import Header


class Response(httpx.Response):
    """Makes an httpx.Response whose headers are made only where somebody asks for them: of a 2xx, nobody does."""

    def __init__(self, status: int, headers: Sequence[Header], stream: httpx.AsyncByteStream) -> None:
        self.status_code = status
        self.stream = stream
        self.is_closed = self.is_stream_consumed = False
        self.next_request = self._request = None
        self.default_encoding = "utf-8"
        self._num_bytes_downloaded = 0
        self._raw_headers = headers

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]
        return httpx.Headers(self._raw_headers)

    @cached_property
    def extensions(self) -> dict[str, object]:  # type: ignore[override]
        return {}

    @cached_property
    def history(self) -> list[httpx.Response]:  # type: ignore[override]
        return []
