"""A proxy to Redis that knows what it passes on, and can lose it, hold it, and fall silent.

Where it matters, the name of a command says what came of it as well: an exchange that claimed is not one that acked.
"""

import asyncio
import hashlib
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Literal, Self

from app.demo.embedded import EmbeddedRedis
from app.store.client import script_text

LIMIT = 64 * 1024 * 1024

GUARDED = ("exchange", "bury", "park", "adopt")
ONCE = ("replay", "drop")
PLAIN = ("sample", "page", "take", "renew", "release", "survey", "rehearse", "letters", "inject")

Way = Literal["command", "reply", "connection"]
"""What is lost: a command, the reply to it, or, behind its reply, the connection alone."""

Loses = Callable[[Way, str], bool]


def _sha(text: str) -> bytes:
    return hashlib.sha1(text.encode()).hexdigest().encode()


SCRIPTS = {
    **{_sha("\n".join(map(script_text, ("guard", name)))): name for name in GUARDED},
    **{_sha("\n".join(map(script_text, ("once", name)))): name for name in ONCE},
    **{_sha(script_text(name)): name for name in PLAIN},
}


def nth(way: Way, command: str, first: int = 1, times: int = 1) -> Loses:
    """Lose so many of one command, beginning with the `first`."""
    met = 0

    def loses(at: Way, what: str) -> bool:
        nonlocal met
        met += (at, what) == (way, command)
        return (at, what) == (way, command) and first <= met < first + times

    return loses


def at_random(seed: int, share: float) -> Loses:
    """Lose a share of everything, on either way."""
    random = Random(seed)
    return lambda _, __: random.random() < share


async def read_value(reader: StreamReader) -> bytes:
    """Return one RESP2 value, raw."""
    line = await reader.readuntil(b"\r\n")
    kind, number = line[:1], line[1:-2]
    if kind == b"$" and number != b"-1":
        return line + await reader.readexactly(int(number) + 2)
    if kind == b"*" and number != b"-1":
        return line + b"".join([await read_value(reader) for _ in range(int(number))])
    return line


def command_of(request: bytes) -> str:
    """Return the name of a command; for a script, that of its file."""
    words = _words(request, 2)
    name = words[0].decode().upper()
    if name == "EVALSHA":
        return SCRIPTS.get(words[1], "unknown script")
    return f"{name} {words[1].decode().upper()}" if name in {"CLIENT", "SCRIPT"} else name


def outcome_of(request: bytes, reply: bytes) -> str:
    """Return the name of a command together with what came of it."""
    command = command_of(request)
    if reply.startswith(b"-NOSCRIPT"):
        return "NOSCRIPT"
    if command == "BLMOVE" and reply in {b"$-1\r\n", b"*-1\r\n"}:
        return "BLMOVE in vain"
    if command == "exchange" and reply == b"$-1\r\n":
        return "exchange again"
    if command == "exchange" and reply.startswith(b"*"):
        return _exchange_outcome(request, reply)
    return command


def _exchange_outcome(request: bytes, reply: bytes) -> str:
    acks = _words(request, 16)[15] != b"0"
    claims = int(reply[1 : reply.index(b"\r\n")]) > 2
    done = " and ".join(name for name, some in (("acks", acks), ("claims", claims)) if some)
    return f"exchange of {done}" if done else "exchange in vain"


def _words(request: bytes, number: int) -> list[bytes]:
    return request.split(b"\r\n", 2 * number + 1)[2 : 2 * number + 1 : 2]


def reset(writer: StreamWriter) -> None:
    """Hang up as a process does that is killed with unread input: the other side is told that nobody is there."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class RedisProxy:
    """Passes everything on that `loses` does not lose; with each loss, the connection ends.

    `lost` and `seen` count outcomes, or commands where they never reached Redis; `open` what Redis has not answered.
    """

    def __init__(self, redis: EmbeddedRedis) -> None:
        self.loses: Loses = lambda _, __: False
        self.seen: Counter[str] = Counter()
        self.lost: Counter[tuple[Way, str]] = Counter()
        self.open: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Event] = {}
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._redis = redis
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def hold(self, outcome: str) -> None:
        """Keep the replies of this outcome back until `let_go`."""
        self._gates[outcome] = asyncio.Event()

    def let_go(self, outcome: str) -> None:
        self._gates.pop(outcome).set()

    def freeze(self) -> None:
        """Pass nothing on, either way, and say nothing; connections are still accepted."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Pass on what was sent meanwhile, late as it is, as a network or a Redis that was stopped would."""
        self._thawed.set()

    async def listen(self) -> None:
        """Accept connections, always on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=LIMIT)
        self._port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Hang up on everybody, and refuse new connections until `listen`."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            await self._pass_on(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # either side has hung up, or Redis is not there
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._redis.port, limit=LIMIT)
        try:
            while (request := await self._command(reader)) and (
                reply := await self._reply(request, redis_reader, redis_writer)
            ):
                writer.write(reply)
                await writer.drain()
                if self._is_lost("connection", outcome_of(request, reply)):
                    return reset(writer)
        finally:
            redis_writer.close()

    async def _command(self, reader: StreamReader) -> bytes | None:
        request = await read_value(reader)
        await self._thawed.wait()
        return None if self._is_lost("command", command_of(request)) else request

    async def _reply(self, request: bytes, reader: StreamReader, writer: StreamWriter) -> bytes | None:
        command = command_of(request)
        self.open[command] += 1
        try:
            writer.write(request)
            reply = await read_value(reader)
        finally:
            self.open[command] -= 1
        outcome = outcome_of(request, reply)
        self.seen[outcome] += 1
        await self._until_let_go(outcome)
        await self._thawed.wait()
        return None if self._is_lost("reply", outcome) else reply

    async def _until_let_go(self, outcome: str) -> None:
        if gate := self._gates.get(outcome):
            self.held[outcome] += 1
            await gate.wait()
            self.held[outcome] -= 1

    def _is_lost(self, way: Way, what: str) -> bool:
        lost = self.loses(way, what)
        self.lost[way, what] += lost
        return lost
