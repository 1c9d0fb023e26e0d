"""Receive CDRs over HTTP and answer as told: for the demo, for tests, and for trying things out."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.asgi import protocol_config
from app.demo.connection import Connection
from app.demo.members import Member, members_of

BACKLOG: Final = 1024
BAD_REQUEST: Final = 400
IDLE: Final = 3600
"""Seconds until an idle connection is closed: longer than any caller keeps one, so that none meets its end."""


@dataclass(frozen=True)
class Arrival:
    """Holds one POST, with the status of the answer and the time of arrival (`time.monotonic`).

    `members` are the CDRs in it; none where it is a batch that cannot be read, which is answered 400.
    """

    webhook_id: str
    attempt: int
    body: bytes
    status: int
    at: float
    members: Sequence[Member] = ()

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - this is what 2xx means


class SampleEndpoint:
    """Answers `status`, or what `judge` makes of the body, after `delay` seconds; all may be changed at any time.

    `taken` counts what was answered 2xx per webhook-id, in batches per id inside; `refused` counts all other POSTs, and
    `open` those that wait for their answer.
    """

    def __init__(self, on_arrival: Callable[[Arrival], None] | None = None) -> None:
        self.status = 204
        self.delay = 0.0
        self.judge: Callable[[bytes], int] = lambda _: self.status
        self.taken: Counter[str] = Counter()
        self.refused = 0
        self.open = 0
        self._on_arrival = on_arrival
        self._state = ServerState()
        self._config = protocol_config(self._answer, IDLE)
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/cdr"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._config, self._state), host, port, backlog=BACKLOG
        )
        return self

    async def stop(self) -> None:
        """Stop at once: whoever waits for an answer sees the connection end."""
        self._server.close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.sleep(0)  # so that connections close even if nobody waits for an answer
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        await Response(status_code=await self.receive(request.headers, body))(scope, receive, send)

    async def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Take note of a POST, and return the status that answers it. Names of `headers` are found in any case."""
        at = time.monotonic()
        self.open += 1
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.open -= 1
        attempt = headers.get("webhook-attempt", "")
        number = int(attempt) if attempt.isdecimal() else 0
        try:
            members, status = members_of(headers, body), self.judge(body)
        except ValueError:
            members, status = [], BAD_REQUEST
        arrival = Arrival(headers.get("webhook-id", ""), number, body, status, at, members)
        if arrival.taken:
            self.taken.update(member.webhook_id for member in members)
        else:
            self.refused += 1
        if self._on_arrival:
            self._on_arrival(arrival)
        return arrival.status
