"""Read POSTs with uvicorn's HTTP protocol, and refuse all else."""

import logging
from http import HTTPStatus
from typing import Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.asgi import RefusedError

LARGEST_HEAD: Final = 64 * 1024
LARGEST_BODY: Final = 16 * 1024 * 1024
LINGER: Final = 1.0
"""Seconds for which the rest of a refused request is read: closing with unread bytes resets the connection."""

QUIET: Final = logging.getLogger("sample_endpoint")
QUIET.setLevel(logging.CRITICAL)  # a broken request is answered, and no error of ours


class Connection(HttpToolsProtocol):
    """Serves one caller. Refuses, and closes, if anything comes but a POST whose length is known and not too large."""

    def __init__(self, config: Config, state: ServerState) -> None:
        super().__init__(config, state, {})
        self.logger = QUIET
        self._unfinished = 0
        """Bytes since the last end of a head, or part of a body."""
        self._refused = HTTPStatus.BAD_REQUEST
        self._is_deaf = False

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > LARGEST_HEAD and not self._is_deaf:
            self.send_400_response("")

    def on_headers_complete(self) -> None:
        self._unfinished = 0
        length = dict(self.headers).get(b"content-length")
        if self.parser.get_method() != b"POST":
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)
        if length is None:  # a forwarder always sends it
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
        elif int(length) > LARGEST_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unfinished = 0
        super().on_body(body)

    def send_400_response(self, _: str) -> None:
        """Refuse the request; despite its name, with the status that fits."""
        self._is_deaf = True
        answer = f"HTTP/1.1 {self._refused} {self._refused.phrase}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(answer.encode())
        self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)

    def _refuse(self, status: HTTPStatus) -> None:
        self._refused = status
        raise RefusedError
