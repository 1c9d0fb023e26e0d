"""Receivers on real sockets that do to a client what networks and servers do to it."""

import asyncio
import fcntl
import os
import socket
import ssl
import struct
import termios
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
MOST_BUFFERED = 4 * 1024 * 1024

GONE = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, RuntimeError)  # the last one: uvloop


@dataclass
class Connection:
    """The server's side of one connection; a behaviour is a function of it."""

    server: "Server"
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """Return the raw bytes of the next request, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            (line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")),
            b"0",
        )
        request = head + await self.reader.readexactly(int(length))
        self.server.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def send_at_once(self, data: bytes) -> None:
        """Send without a turn of the event loop, which the client may run in, too."""
        os.write(self.writer.get_extra_info("socket").fileno(), data)

    def has_received(self) -> bool:
        """Tell whether bytes are there that have not been read."""
        number = array("i", [0])
        fcntl.ioctl(self.writer.get_extra_info("socket").fileno(), termios.FIONREAD, number)
        return number[0] > 0

    async def left(self) -> None:
        """Wait until the client has closed or dropped the connection."""
        with suppress(*GONE):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        """Answer with RST instead of FIN."""
        linger_not = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        self.writer.transport.abort()


Behaviour = Callable[[Connection], Awaitable[None]]


@dataclass
class Server:
    """What a server saw."""

    url: str
    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Callable[["Server"], bool]) -> None:
        """Wait until something holds of the connections."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def count(self, change: int) -> None:
        async with self._changed:
            self.connections += max(change, 0)
            self.open_connections += change
            self._changed.notify_all()


@asynccontextmanager
async def serve(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve on an ephemeral port of 127.0.0.1; every connection is closed on leaving."""
    tasks: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = group.create_task(_behave(server, behaviour, reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, limit=MOST_BUFFERED)
        port = listener.sockets[0].getsockname()[1]
        server = Server(f"{'https' if tls else 'http'}://127.0.0.1:{port}/hook", port)
        try:
            yield server
        finally:
            listener.close()
            for task in tasks:
                task.cancel()


async def _behave(
    server: Server, behaviour: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.count(+1)
    try:
        with suppress(*GONE):
            await behaviour(Connection(server, server.connections, reader, writer))
    finally:
        # An ordinary close sends what is buffered; it is not waited for, because some clients never read it.
        writer.close()
        await server.count(-1)


def answers(answer: bytes) -> Behaviour:
    """Give the same raw answer to every request, on connections that stay open."""

    async def behave(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(answer)

    return behave


def answers_then_hangs(beginning: bytes) -> Behaviour:
    """Send the beginning of an answer and nothing more."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(beginning)
        await connection.left()

    return behave


def answers_then_closes(beginning: bytes) -> Behaviour:
    """Send the beginning of an answer and close."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(beginning)

    return behave


async def resets_before_the_request(connection: Connection) -> None:
    connection.reset()


async def resets_after_the_request(connection: Connection) -> None:
    await connection.request()
    connection.reset()


def fails_when_reused(failure: Behaviour) -> Behaviour:
    """Answer 204 to the first request on the first connection, then fail; answer 204 on all other connections."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(NO_CONTENT)
        if connection.number == 1:
            await failure(connection)
        else:
            await answers(NO_CONTENT)(connection)

    return behave


async def closes_after_the_request(connection: Connection) -> None:
    await connection.request()


async def sends_for_ever(connection: Connection) -> None:
    """Announce more than anybody would store, and send as fast as it is taken."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
    while True:
        await connection.send(b"." * 65536)


async def drips_for_ever(connection: Connection) -> None:
    """Send a body so slowly that no timeout between two bytes ever sees it."""
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n")
    while True:
        await connection.send(b".")
        await asyncio.sleep(0.01)


async def is_an_http_proxy(connection: Connection) -> None:
    """CONNECT: tunnel to the named port of 127.0.0.1; anything else: answer 204."""
    request = await connection.request()
    if not request.startswith(b"CONNECT "):
        await connection.send(NO_CONTENT)
        await connection.left()
        return
    port = int(request.split()[1].rpartition(b":")[2])
    await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await _tunnel(connection, port)


async def _tunnel(connection: Connection, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.TaskGroup() as both_ways:
            both_ways.create_task(_copy(connection.reader, writer))
            both_ways.create_task(_copy(reader, connection.writer))
    finally:
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(*GONE):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def refused() -> Iterator[str]:
    """Yield a URL on whose port nobody listens: bound, so that nobody else gets it meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/hook"


@contextmanager
def never_accepts() -> Iterator[str]:
    """Yield a URL whose port does not answer a SYN: its queue of connections is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        finally:
            for filler in fillers:
                filler.close()


async def is_a_socks_proxy(connection: Connection) -> None:
    """SOCKS5 (RFC 1928, RFC 1929): tunnel to the named port of 127.0.0.1; note host, port and credentials."""
    reader, credentials = connection.reader, b""
    methods = await reader.readexactly((await reader.readexactly(2))[1])
    await connection.send(b"\x05\x02" if b"\x02" in methods else b"\x05\x00")
    if b"\x02" in methods:
        user = await reader.readexactly((await reader.readexactly(2))[1])
        credentials = user + b":" + await reader.readexactly((await reader.readexactly(1))[0])
        await connection.send(b"\x01\x00")
    host = await reader.readexactly((await reader.readexactly(5))[4])
    port = int.from_bytes(await reader.readexactly(2), "big")
    connection.server.requests.append(b"%b:%d %b" % (host, port, credentials))
    await connection.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
    await _tunnel(connection, port)
