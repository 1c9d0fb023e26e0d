"""A receiver whose answers follow a script, and which records what arrived and when."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self, cast

from tests.support.pace import clock

BACKLOG: Final = 1024


@dataclass(frozen=True)
class Question:
    """What a script is asked: the body, which arrival of this body it is (from 1), seconds since the first request."""

    body: bytes
    arrival: int
    seconds: float


@dataclass(frozen=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300

    def encoded(self) -> bytes:
        """Return the HTTP message; it has no body."""
        length = () if self.status == NO_CONTENT else (("content-length", "0"),)
        lines = [f"{name}: {value}\r\n" for name, value in (*self.headers, *length)]
        return f"HTTP/1.1 {self.status} Scripted\r\n{''.join(lines)}\r\n".encode()


NO_CONTENT: Final = 204
TAKEN: Final = Answer(204)
REJECTED: Final = Answer(400)
BROKEN: Final = Answer(500)
BUSY: Final = Answer(503)

Script = Callable[[Question], Answer]


def well(_: Question) -> Answer:
    return TAKEN


@dataclass(frozen=True)
class Request:
    """`at` is when it was complete, by the clock of the event loop."""

    at: float
    body: bytes
    headers: Mapping[str, str]
    status: int

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]


class ScriptedReceiver:
    """Listens on loopback, or on the socket that it is given.

    `arrived` counts all requests of a body, `taken` those that were answered 2xx; `taken_at` is when the first one was.
    """

    def __init__(self, script: Script = well, listening: socket.socket | None = None) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.arrived: Counter[bytes] = Counter()
        self.taken: Counter[bytes] = Counter()
        self.taken_at: dict[bytes, float] = {}
        self.port = 0
        self._listening = listening
        self._began_at: float | None = None
        self._connections: set[asyncio.Transport] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/cdr"

    @property
    def seconds(self) -> float:
        """Time since the first request."""
        return 0.0 if self._began_at is None else clock() - self._began_at

    def answer_to(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        at = clock()
        if self._began_at is None:
            self._began_at = at
        self.arrived[body] += 1
        answer = self.script(Question(body, self.arrived[body], at - self._began_at))
        self.requests.append(Request(at, body, headers, answer.status))
        if answer.taken:
            self.taken[body] += 1
            self.taken_at.setdefault(body, at)
        return answer

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        where = {"sock": self._listening} if self._listening else {"host": "127.0.0.1", "port": 0}
        self._server = await loop.create_server(self._connection, backlog=BACKLOG, **where)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for transport in self._connections:
            transport.abort()

    def _connection(self) -> "_Connection":
        return _Connection(self, self._connections)


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: ScriptedReceiver, connections: set[asyncio.Transport]) -> None:
        self._receiver = receiver
        self._connections = connections
        self._unread = bytearray()
        self._wanted = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self._transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while len(self._unread) >= self._wanted and (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = _headers(bytes(self._unread[:end]))
            whole = end + 4 + int(head["content-length"])
            if len(self._unread) < whole:
                self._wanted = whole
                return
            body = bytes(self._unread[end + 4 : whole])
            del self._unread[:whole]
            self._wanted = 0
            self._answer(self._receiver.answer_to(body, head))

    def _answer(self, answer: Answer) -> None:
        if answer.delay:
            asyncio.get_running_loop().call_later(answer.delay, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: Answer) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer.encoded())


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
