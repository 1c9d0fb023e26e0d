"""A proxy to Redis that knows what it passes on, and can lose it, hold it, and fall silent.

Where it matters, what came of a command has names as well: an exchange that claimed is not one that acked.
"""

import asyncio
import hashlib
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final, Literal, Self

from app.demo.embedded import EmbeddedRedis
from app.store.scripts import script

LIMIT = 64 * 1024 * 1024

GUARDED = ("settle_and_claim", "distribute", "adopt", "put_back")
ONCE = ("replay", "drop")
UNOWNED = ("reroute", "forget")
PLAIN = (
    *("sample", "page", "take", "renew", "release", "survey", "rehearse", "letters", "inject"),
    *("report", "reports", "history", "minutes", "newest_letters", "replayed"),
)

Way = Literal["command", "reply", "connection"]
"""What is lost: a command, the reply to it, or, behind its reply, the connection alone."""

Names = frozenset[str]
"""What a command is called, and what came of it."""

Loses = Callable[[Way, Names], bool]

SCRIPTS = {
    script(*before, name).sha.encode(): name
    for before, names in (
        (("common", "guard"), GUARDED),
        (("common", "once"), ONCE),
        (("common", "unowned"), UNOWNED),
        ((), PLAIN),
    )
    for name in names
}

EXCHANGE: Final = "settle_and_claim"
IN_VAIN: Final = "in vain"
"""Nothing was settled and nothing moved."""

MOVED_NOTHING: Final[dict[str, tuple[Any, ...]]] = {
    "BLMOVE": (None,),
    "adopt": (0,),
    "distribute": ([0, 0, b""], [0, 1, b""]),
}

SETTLED: Final = {b"": "acks", b"retry": "defers", b"dead": "dead letters", b"pending": "gives back"}


def nth(way: Way, name: str, first: int = 1, times: int = 1) -> Loses:
    """Lose so many of one command, or of one outcome, beginning with the `first`."""
    met = 0

    def loses(at: Way, names: Names) -> bool:
        nonlocal met
        is_meant = at == way and name in names
        met += is_meant
        return is_meant and first <= met < first + times

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


def parsed(raw: bytes) -> Any:
    """Return what a raw RESP2 value says; errors and simple strings are bytes."""
    value, _ = _value(raw, 0)
    return value


def _value(raw: bytes, start: int) -> tuple[Any, int]:
    end = raw.index(b"\r\n", start)
    kind, rest, after = raw[start : start + 1], raw[start + 1 : end], end + 2
    if kind == b":":
        return int(rest), after
    if kind not in (b"$", b"*"):
        return rest, after
    if rest == b"-1":
        return None, after
    if kind == b"$":
        return raw[after : after + int(rest)], after + int(rest) + 2
    values = []
    for _ in range(int(rest)):
        value, after = _value(raw, after)
        values.append(value)
    return values, after


def command_of(request: bytes) -> str:
    """Return the name of a command; for a script, that of its file."""
    words = _first_words(request, 2)
    name = words[0].decode().upper()
    if name in {"EVALSHA", "EVAL"}:
        sha = words[1] if name == "EVALSHA" else hashlib.sha1(words[1]).hexdigest().encode()
        return SCRIPTS.get(sha, "unknown script")
    return f"{name} {words[1].decode().upper()}" if name in {"CLIENT", "SCRIPT"} else name


def outcomes_of(request: bytes, reply: bytes) -> Names:
    """Return the name of a command, and names for what came of it."""
    command = command_of(request)
    if reply.startswith(b"-NOSCRIPT"):
        return Names({"NOSCRIPT"})
    if reply.startswith(b"-"):
        return Names({command, f"{command} refused"})
    if command in GUARDED and reply.startswith(b"$"):
        return Names({f"{command} again"})
    if command == EXCHANGE:
        done = set(_exchanged(parsed(request), parsed(reply)))
        return Names({command, *(f"{command} {what}" for what in done or {IN_VAIN})})
    if parsed(reply) in MOVED_NOTHING.get(command, ()):
        return Names({f"{command} {IN_VAIN}"})
    return Names({command})


def _exchanged(request: list[bytes], reply: list[Any]) -> Iterator[str]:
    """Yield what one exchange has done; the script says where each argument stands."""
    settlements = request[2 + 1 + int(request[2]) + 13 :]
    for place in settlements[1::5]:
        yield SETTLED[place]
    if reply[5]:
        yield "claims"
    if reply[6]:
        yield "hands out"


def _first_words(request: bytes, number: int) -> list[bytes]:
    words, start = [], request.index(b"\r\n") + 2
    for _ in range(min(number, int(request[1 : start - 2]))):
        word, start = _value(request, start)
        words.append(word)
    return words


def reset(writer: StreamWriter) -> None:
    """Hang up as a process does that is killed with unread input: the other side is told that nobody is there."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class RedisProxy:
    """Passes everything on that `loses` does not lose; with each loss, the connection ends.

    `lost` and `seen` count commands and outcomes; `open` counts what Redis has not answered.
    """

    def __init__(self, redis: EmbeddedRedis) -> None:
        self.loses: Loses = nth("command", "none")
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
                if self._is_lost("connection", outcomes_of(request, reply)):
                    return reset(writer)
        finally:
            redis_writer.close()

    async def _command(self, reader: StreamReader) -> bytes | None:
        request = await read_value(reader)
        await self._thawed.wait()
        return None if self._is_lost("command", Names({command_of(request)})) else request

    async def _reply(self, request: bytes, reader: StreamReader, writer: StreamWriter) -> bytes | None:
        command = command_of(request)
        self.open[command] += 1
        try:
            writer.write(request)
            reply = await read_value(reader)
        finally:
            self.open[command] -= 1
        outcomes = outcomes_of(request, reply)
        self.seen.update(outcomes)
        for outcome in outcomes:
            await self._until_let_go(outcome)
        await self._thawed.wait()
        return None if self._is_lost("reply", outcomes) else reply

    async def _until_let_go(self, outcome: str) -> None:
        if gate := self._gates.get(outcome):
            self.held[outcome] += 1
            await gate.wait()
            self.held[outcome] -= 1

    def _is_lost(self, way: Way, names: Names) -> bool:
        lost = self.loses(way, names)
        for name in names:
            self.lost[way, name] += lost
        return lost
