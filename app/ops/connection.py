"""Serve one connection to the operator server: as uvicorn does, but with caps and deadlines."""

import asyncio
from http import HTTPStatus
from typing import Final, Literal

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.asgi import RefusedError
from app.config.timings import Timings
from app.ops.complaints import Complaints
from app.ops.headers import dated, refusal

FIELD: Final = 32
"""Bytes that a header counts in addition to its text, as in HTTP/2 (RFC 9113, 6.5.2): short ones cost memory too."""

LINGER: Final = 1.0
"""Seconds that the caller has to read a refusal."""

Stage = Literal["head", "body", "answer"]
"""What we wait for: the end of a head (or the connection is idle), of a body, or of our answer."""


class Connection(HttpToolsProtocol):
    """Refuses heads and bodies that are too large, and closes slow connections. If a caller hangs up, work ends.

    uvicorn itself has no caps, and a deadline only for idle connections.
    """

    def __init__(self, config: Config, state: ServerState, timings: Timings, complaints: Complaints) -> None:
        super().__init__(config, state, {"connection": self})
        self.logger = complaints.logger
        self.app = self._answer
        self.is_trusted = False
        """The caller has the token: the connection is not closed to make room for another."""
        self.since = self.loop.time()
        """When it was opened, or sent its last complete request."""
        self._timings = timings
        self._complaints = complaints
        self._stage: Stage = "head"
        self._deadline = self.loop.call_later(timings.head_wait, self._time_out)
        self._answering: asyncio.Task[None] | None = None
        self._unfinished = self._head = self._body = 0
        self._refused = HTTPStatus.BAD_REQUEST
        self._is_deaf = False

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if self._has_a_place():
            super().connection_made(transport)
        else:
            self.transport = transport
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)
        if self._answering:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf or self.transport.is_closing():
            return
        super().data_received(data)
        self._unfinished = self._unfinished + len(data) if self._stage == "head" else 0
        # Refused by the parser already: a second refusal would be a write behind the end, and a traceback.
        if self._unfinished > self._timings.head_bytes and not (self._is_deaf or self.transport.is_closing()):
            self._refused = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.send_400_response("")

    # --- what the parser calls

    def on_message_begin(self) -> None:
        if self._stage == "answer":
            raise RefusedError  # one request at a time: thousands fit into one packet, and each would be a task
        super().on_message_begin()
        self._head = self._body = 0

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + FIELD)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.server_state.default_headers = dated()
        super().on_headers_complete()
        self._await("body", self._timings.body_wait)

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self._body > self._timings.body_bytes:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.since = self.loop.time()
        if self.cycle.response_complete:
            self._await("head", self._timings.head_wait)
        else:
            self._await("answer", self._timings.answer_wait + LINGER)  # the caller is told first that time is up

    # --- what uvicorn calls

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.is_trusted = False
        if self._stage == "answer" and not self.transport.is_closing():
            self._await("head", self._timings.head_wait)

    def send_400_response(self, _: str) -> None:
        """Refuse the request. One before it that is complete is still answered, as the last one."""
        self._is_deaf = True
        if self._stage == "answer":
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        self._complaints.refused(self._refused.phrase)
        if self._answering:
            self._answering.cancel()
        if self._stage == "body":
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True  # whoever was to answer it may not have begun; this is the answer
        self.transport.write(refusal(self._refused))
        # Closing with unread bytes would be a reset, which may overtake the answer.
        self.transport.write_eof()
        self._await(self._stage, LINGER)

    async def _answer(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self._answering = asyncio.current_task()
        if self.cycle.disconnected:
            return
        try:
            await self.config.loaded_app(scope, receive, send)
        except asyncio.CancelledError:
            self.cycle.disconnected = True  # it is; or the refusal was the answer

    # --- our own

    def drop(self, reason: str) -> None:
        """Close it at once, even during a request."""
        self._complaints.refused(reason)
        self.connections.discard(self)
        self.transport.abort()

    def _has_a_place(self) -> bool:
        """Make room if necessary: close the connection without a complete request for longest, never a trusted one.

        So a health check gets an answer even while somebody holds as many connections as are allowed.
        """
        others = [one for one in self.connections if isinstance(one, Connection)]
        if len(others) < self._timings.connections:
            return True
        strangers = [one for one in others if not one.is_trusted]
        if strangers:
            min(strangers, key=lambda one: one.since).drop("too many connections")
        else:
            self._complaints.refused("too many connections")
        return bool(strangers)

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > self._timings.head_bytes:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _refuse(self, status: HTTPStatus) -> None:
        self._refused = status
        raise RefusedError

    def _await(self, stage: Stage, seconds: float) -> None:
        self._stage = stage
        self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._time_out)

    def _time_out(self) -> None:
        if self._is_deaf or (self._stage == "head" and not self._unfinished):
            self.transport.abort()  # already refused, or idle, which is not wrong
        else:
            self.drop(f"{self._stage} too slow")
