"""An endpoint of a crash run: it remembers what it took, and misbehaves as it is told to."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self, cast

from app.demo.members import members_of

POISON = (b"poison", b'"poison')
"""A CDR that begins with one of them is never taken."""


@dataclass(frozen=True)
class Answer:
    status: int
    retry_after: int = 0

    def as_bytes(self) -> bytes:
        retry_after = f"retry-after: {self.retry_after}\r\n" if self.retry_after else ""
        phrase = HTTPStatus(self.status).phrase
        return f"HTTP/1.1 {self.status} {phrase}\r\ncontent-length: 0\r\n{retry_after}\r\n".encode()


TAKEN, NEVER, FAILED, BUSY, STORM, DOWN = (
    *(Answer(200), Answer(422), Answer(500)),
    *(Answer(429, retry_after=1), Answer(400), Answer(503)),
)
DENIED = Answer(401)

Judge = Callable[[bytes], Answer]


def well(body: bytes) -> Answer:
    return NEVER if body.startswith(POISON) else TAKEN


def down(_: bytes) -> Answer:
    return DOWN


class HalfSick:
    """Fails 10 % of the CDRs, asks for a second of rest at 5 %, and rejects everything in storms.

    A CDR is rejected by one storm only, and fails in later ones: two rejections a minute apart, while others are
    taken, are what makes a dead letter, and nobody could tell this CDR from poison.
    """

    def __init__(self, chance: random.Random) -> None:
        self.storms = 0
        self.in_storm = False
        self._chance = chance
        self._rejected_by: dict[bytes, int] = {}

    def judge(self, body: bytes) -> Answer:
        if body.startswith(POISON):
            return NEVER
        if self.in_storm:
            return STORM if self._rejected_by.setdefault(body, self.storms) == self.storms else FAILED
        return self._chance.choices((FAILED, BUSY, TAKEN), (10, 5, 85))[0]

    def begin_storm(self) -> None:
        self.storms += 1
        self.in_storm = True

    def end_storm(self) -> None:
        self.in_storm = False


class Endpoint:
    """Listens on loopback. `judge` may be changed at any time; `taken` counts what was answered 2xx."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.judge: Judge = well
        self.taken: Counter[bytes] = Counter()
        self.answers: Counter[int] = Counter()
        self.most_at_once = 0
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}/cdr"

    def answer_to(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Judge a batch by its first CDR, but for poison: that is never taken, wherever it stands."""
        bodies = [member.body for member in members_of(headers, body)]
        answer = NEVER if any(body.startswith(POISON) for body in bodies) else self.judge(bodies[0])
        self.answers[answer.status] += 1
        self.most_at_once = max(self.most_at_once, len(bodies))
        if answer is TAKEN:
            self.taken.update(bodies)
        return answer

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


class Connection(asyncio.Protocol):
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._unread = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            headers = _headers_in(self._unread[:end].decode())
            whole = end + 4 + int(headers["content-length"])
            if len(self._unread) < whole:
                return
            body = bytes(self._unread[end + 4 : whole])
            del self._unread[:whole]
            self._transport.write(self._endpoint.answer_to(headers, body).as_bytes())


def _headers_in(head: str) -> dict[str, str]:
    lines = (line.partition(":") for line in head.split("\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in lines}
