"""A link to Redis that carries only so many bytes per second each way, whoever shares it."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from typing import Final, Self

from tests.support.pace import clock, until

PIECE: Final = 16 * 1024
SOCKET_BUFFER: Final = 64 * 1024
"""Small, so that what the link has not carried yet waits with its sender."""


class Direction:
    """One way of the link; pieces pass in the order in which they came, from whatever connection."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0

    async def carry(self, number: int) -> None:
        """Return when this many bytes have passed."""
        self._free_at = max(self._free_at, clock()) + number / self._rate
        await until(self._free_at)


class SlowLink:
    """Listens on loopback, and passes all on to a Redis server there."""

    def __init__(self, redis_port: int, bytes_per_second: float) -> None:
        self._redis_port = redis_port
        self._up = Direction(bytes_per_second)
        self._down = Direction(bytes_per_second)
        self._tasks: set[asyncio.Task[None]] = set()
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
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_carry(reader, redis_writer, self._up))
                ways.create_task(_carry(redis_reader, writer, self._down))


async def _carry(reader: StreamReader, writer: StreamWriter, way: Direction) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE):
            await way.carry(len(piece))
            writer.write(piece)
            await writer.drain()
    writer.close()


def _small(connection: socket.socket) -> socket.socket:
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, buffer, SOCKET_BUFFER)
    return connection
