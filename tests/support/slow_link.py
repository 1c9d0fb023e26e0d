"""A link to Redis that is thin, shared by all connections, or long."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from math import inf
from typing import Final, Self

from tests.support.pace import clock, until

PIECE: Final = 16 * 1024
SOCKET_BUFFER: Final = 64 * 1024
"""Small, so that what the link has not carried yet waits with its sender."""


class Direction:
    """One way of the link; pieces pass in the order in which they came, from whatever connection."""

    def __init__(self, bytes_per_second: float, seconds: float) -> None:
        self._rate = bytes_per_second
        self._seconds = seconds
        self._free_at = 0.0

    async def carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Pass on all that comes, until either side hangs up."""
        with suppress(OSError):
            while piece := await reader.read(PIECE):
                self._free_at = max(self._free_at, clock()) + len(piece) / self._rate
                await until(self._free_at)
                asyncio.get_running_loop().call_later(self._seconds, writer.write, piece)
                await writer.drain()
        asyncio.get_running_loop().call_later(self._seconds, writer.close)


class SlowLink:
    """Listens on loopback, and passes all on to a Redis server there.

    `bytes_per_second` is for each way; `seconds` is how long a byte is on its way, half of a round trip.
    """

    def __init__(self, redis_port: int, *, bytes_per_second: float = inf, seconds: float = 0.0) -> None:
        self._redis_port = redis_port
        self._up = Direction(bytes_per_second, seconds)
        self._down = Direction(bytes_per_second, seconds)
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_redis: list[StreamWriter] = []
        self._server: asyncio.Server
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> Self:
        listening = _small(socket.socket())
        listening.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=PIECE)
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._to_redis:
            writer.close()  # what was to close it after `seconds` may come later than the end of the loop

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        with suppress(asyncio.CancelledError):  # Python 3.11 prints a cancelled connection as an error
            await self._pass_on(reader, writer)
        writer.close()
        self._tasks.discard(task)

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        with _small(socket.socket()) as connection:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._redis_port))
            redis_reader, redis_writer = await asyncio.open_connection(sock=connection, limit=PIECE)
            self._to_redis.append(redis_writer)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._up.carry(reader, redis_writer))
                ways.create_task(self._down.carry(redis_reader, writer))


def _small(connection: socket.socket) -> socket.socket:
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, buffer, SOCKET_BUFFER)
    return connection
