"""A token endpoint on a real socket, which can be slow, down, wrong or rotating."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote_plus

from tests.support.http_faults import Connection, serve

CLIENT: Final = "forwarder/1"
SECRET: Final = "s3cret: ä%+&"

Login = tuple[str, str] | None
"""Id and secret, and None where there are none."""


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


def refusal(status: int, error: str) -> bytes:
    return answer(status, json.dumps({"error": error, "error_description": "secret words"}).encode())


@dataclass
class TokenEndpoint:
    """Gives token-1, token-2 … to whoever knows the secret; what it shall do may be changed at any time.

    `answers`: if not empty, what it answers in place of a token. `gate` closed: it does not answer.
    """

    url: str = ""
    secret: str = SECRET
    lifetime: Any = 3600
    takes_basic: bool = True
    takes_post: bool = True
    answers: bytes = b""
    extra: dict[str, Any] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def asked(self) -> int:
        return len(self.requests)

    async def behave(self, connection: Connection) -> None:
        while True:
            request = await connection.request()
            self.requests.append(request)
            await self.gate.wait()
            await connection.send(self.answers or self._answer(request))

    def _answer(self, request: bytes) -> bytes:
        head, _, body = request.decode().partition("\r\n\r\n")
        form = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
        self.forms.append(form)
        basic, posted = _basic(head), _posted(form)
        logins = {basic if self.takes_basic else None, posted if self.takes_post else None}
        if (CLIENT, self.secret) not in logins:
            return refusal(401, "invalid_client")
        self.given.append(f"token-{len(self.given) + 1}")
        granted = {"access_token": self.given[-1], "token_type": "Bearer", "expires_in": self.lifetime} | self.extra
        return answer(200, json.dumps(granted).encode(), "content-type: application/json")


def _basic(head: str) -> Login:
    for line in head.split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "authorization":
            client, _, secret = base64.b64decode(value.removeprefix("Basic ")).decode().partition(":")
            return unquote_plus(client), unquote_plus(secret)
    return None


def _posted(form: dict[str, str]) -> Login:
    return (form["client_id"], form["client_secret"]) if "client_id" in form else None


@asynccontextmanager
async def token_endpoint(**how: Any) -> AsyncIterator[TokenEndpoint]:
    endpoint = TokenEndpoint(**how)
    async with serve(endpoint.behave) as server:
        endpoint.url = server.url.replace("/hook", "/token")
        yield endpoint


@dataclass
class Guarded:
    """A receiver that answers what `judge` makes of a body, if the token is one of `valid`; else 401."""

    valid: set[str] = field(default_factory=set)
    judge: Callable[[bytes], int] = lambda _: 204
    refusal: bytes = b""
    """The body of a 401, which comes a little after its head."""
    url: str = ""
    tokens: list[str] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    connections: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def behave(self, connection: Connection) -> None:
        self.connections += 1
        while True:
            head, _, body = (await connection.request()).partition(b"\r\n\r\n")
            [token] = [line[22:] for line in head.decode().split("\r\n") if line.startswith("authorization: Bearer ")]
            self.tokens.append(token)
            await self.gate.wait()
            status = self._answered(token, body)
            whole = answer(status, self.refusal if status == 401 else b"")
            head = whole.removesuffix(self.refusal)
            await connection.send(head)
            if head != whole:
                await asyncio.sleep(0.02)
                await connection.send(self.refusal)

    def _answered(self, token: str, body: bytes) -> int:
        if token not in self.valid:
            return 401
        status = self.judge(body)
        self.taken += [body] if status == 204 else []
        return status


@asynccontextmanager
async def guarded(*valid: str) -> AsyncIterator[Guarded]:
    receiver = Guarded(set(valid))
    async with serve(receiver.behave) as server:
        receiver.url = server.url
        yield receiver
