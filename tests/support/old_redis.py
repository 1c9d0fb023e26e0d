"""A Redis that says which version it is, and answers just enough to be asked."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.proxy import command_of, read_value


class OldRedis:
    """Speaks the protocol of Redis and says that it is `version`; everything that is tried succeeds."""

    def __init__(self, version: str) -> None:
        self._info = f"# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\n".encode()
        self.commands: Counter[str] = Counter()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        try:
            yield
        finally:
            self._server.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while True:
                writer.write(self._reply(await read_value(reader)))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _reply(self, request: bytes) -> bytes:
        command = "EVALSHA" if b"EVALSHA" in request else command_of(request)
        self.commands[command] += 1
        replies = {"INFO": b"$%d\r\n%b\r\n" % (len(self._info), self._info), "EVALSHA": b"*0\r\n", "BLMOVE": b"$-1\r\n"}
        return replies.get(command, b"+OK\r\n")
