"""Plays scripts on sockets, and knows to which request each byte was written."""

import asyncio
import re
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.fuzz.scripts import Script, Step

INTERIM = rb"HTTP/1\.\d 1(?!01)\d\d(?: [^\n]*)?\r?\n(?:(?!\r?\n)[^\n]*\n)*\r?\n"
SUCCESS = re.compile(rb"((?:" + INTERIM + rb"){0,8})HTTP/1\.\d (2\d\d)(?: [^\n]{0,%d})?\r?\n" % (8 * 1024 - 15))
"""A few interim answers, and then the terminated status line of a success, of 8 KiB at most."""

BODY_SIZE = 8
LONGEST_HANG = 5.0


@dataclass
class Conversation:
    """One connection. `written`: what was sent, by the number of requests that had arrived; between two: in halves."""

    requests: list[bytes] = field(default_factory=list)
    written: dict[float, bytes] = field(default_factory=dict)
    was_reset: bool = False

    def status_for(self, number: float) -> int:
        """Return the success that was written for a request, counted from 1; 0: there was none."""
        match = SUCCESS.match(self.written.get(number, b""))
        return int(match[2]) if match else 0

    def interim_before(self, number: float) -> bytes:
        """Return the interim answers that were written before that success."""
        match = SUCCESS.match(self.written.get(number, b""))
        return match[1] if match else b""

    @property
    def has_strays(self) -> bool:
        """Tell whether anything was written before the first request had arrived, or within one."""
        return any(number != int(number) or number == 0 for number in self.written)


class HostileReceiver:
    """Plays one script on each connection; after the last one, connections are closed without a word."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self._scripts = list(scripts)
        self.conversations: list[Conversation] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/hook"

    async def run(self) -> None:
        """Accept connections, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    accepted, _ = await asyncio.get_running_loop().sock_accept(self._listener)
                    script = self._scripts.pop(0) if self._scripts else ()
                    self.conversations.append(Conversation())
                    group.create_task(_Player(accepted, self.conversations[-1]).play(script))
        finally:
            self._listener.close()


class _Player:
    def __init__(self, connection: socket.socket, conversation: Conversation) -> None:
        self._socket = connection
        self._conversation = conversation
        self._received = b""
        self._read = 0

    async def play(self, script: Script) -> None:
        with self._socket, suppress(OSError, EOFError):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for step in script:
                await self._do(step)

    async def _do(self, step: Step) -> None:
        match step.kind:
            case "read":
                self._read += 1
                while len(self._conversation.requests) < self._read:
                    self._take(await asyncio.get_running_loop().sock_recv(self._socket, 65536))
            case "send":
                self._send(step.data)
            case "turn":
                await asyncio.sleep(0)
            case "close":
                raise EOFError
            case "reset":
                self._conversation.was_reset = True
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise EOFError
            case "half-close":
                self._socket.shutdown(socket.SHUT_WR)
                await self._hang()
            case "hang":
                await self._hang()

    def _send(self, data: bytes) -> None:
        """Note what has arrived, and write, in one go: the client cannot do anything between the two."""
        with suppress(BlockingIOError):
            while True:
                self._take(self._socket.recv(65536))
        arrived = len(self._conversation.requests) + (0.5 if self._received else 0)
        sent = self._socket.send(data)
        written = self._conversation.written
        written[arrived] = written.get(arrived, b"") + data[:sent]

    async def _hang(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_HANG):
                while True:
                    self._take(await asyncio.get_running_loop().sock_recv(self._socket, 65536))

    def _take(self, data: bytes) -> None:
        if not data:
            raise EOFError
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0 and len(self._received) >= end + 4 + BODY_SIZE:
            self._conversation.requests.append(self._received[end + 4 : end + 4 + BODY_SIZE])
            self._received = self._received[end + 4 + BODY_SIZE :]
