"""A proxy to Redis that can lose replies, and knows which command they answer."""

import asyncio
import hashlib
from asyncio import StreamReader, StreamWriter
from collections import Counter
from typing import Self

from app.embedded import EmbeddedRedis
from app.link import script_text

LIMIT = 64 * 1024 * 1024

GUARDED = ("exchange", "bury", "park", "adopt")
PLAIN = ("page", "take", "renew", "release", "survey", "rehearse")


def _sha(text: str) -> bytes:
    return hashlib.sha1(text.encode()).hexdigest().encode()


SCRIPTS = {
    **{_sha("\n".join(map(script_text, ("guard", name)))): name for name in GUARDED},
    **{_sha(script_text(name)): name for name in PLAIN},
}


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
    words = request.split(b"\r\n")[2:7:2]
    name = words[0].decode().upper()
    if name == "EVALSHA":
        return SCRIPTS.get(words[1], "unknown script")
    return f"{name} {words[1].decode().upper()}" if name in {"CLIENT", "SCRIPT"} else name


class LossyProxy:
    """Passes everything on, except the replies to `lose`: those commands are carried out, and the connection closed."""

    def __init__(self, redis: EmbeddedRedis) -> None:
        self.seen: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.lose: Counter[str] = Counter()
        self._redis = redis
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LIMIT)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        redis_reader, redis_writer = await asyncio.open_connection(
            "127.0.0.1", self._redis.port, limit=64 * 1024 * 1024
        )
        try:
            while await self._exchange(reader, writer, redis_reader, redis_writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # either side has hung up
        finally:
            redis_writer.close()
            writer.close()
            self._tasks.discard(task)

    async def _exchange(
        self, reader: StreamReader, writer: StreamWriter, redis_reader: StreamReader, redis_writer: StreamWriter
    ) -> bool:
        request = await read_value(reader)
        command = command_of(request)
        self.seen[command] += 1
        redis_writer.write(request)
        reply = await read_value(redis_reader)
        if self.lose[command] > 0 and not reply.startswith(b"-NOSCRIPT"):
            self.lose[command] -= 1
            self.lost[command] += 1
            return False
        writer.write(reply)
        await writer.drain()
        return True
