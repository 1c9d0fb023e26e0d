"""An endpoint that answers at once, or never: as little as can be between the forwarder and its measure.

Its argument is the status, 204 by default; 0: it never answers. Poison always gets a 500. It prints its port when it
listens. At SIGUSR1 it prints what it has received, as one line of JSON, and at SIGTERM the same with all latencies.
"""

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from http import HTTPStatus
from typing import Any, cast

import uvloop

from tests.benchmarks.cdrs import POISON

NO_ANSWER = 0
STAMP = b'{"pushed_at": '


def answer(status: int) -> bytes:
    if status == NO_ANSWER:
        return b""
    length = "" if status == HTTPStatus.NO_CONTENT else "content-length: 0\r\n"
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{length}\r\n".encode()


class Received:
    """What has come; poison is not counted.

    `latencies`: ms from the stamp in a CDR until its request was here; `last_new_at`: monotonic seconds.
    """

    def __init__(self) -> None:
        self.by_path: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.last_new_at = 0.0
        self._distinct: set[int] = set()

    def note(self, path: bytes, body: bytes) -> None:
        self.by_path[path.decode()] += 1
        if (identity := hash(body)) not in self._distinct:
            self._distinct.add(identity)
            self.last_new_at = time.monotonic()
        if body.startswith(STAMP) and (pushed_at := int(body[len(STAMP) : body.index(b",")])):
            self.latencies.append((time.monotonic_ns() - pushed_at) / 1e6)

    def say(self, *, latencies: bool) -> None:
        found: dict[str, Any] = {
            "by_path": self.by_path,
            "distinct": len(self._distinct),
            "last_new_at": self.last_new_at,
        }
        if latencies:
            found["latencies"] = sorted(self.latencies)
        print(json.dumps(found), flush=True)


class Connection(asyncio.Protocol):
    def __init__(self, received: Received, status: int) -> None:
        self._received = received
        self._answer = answer(status)
        self._answer_to_poison = answer(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._unread = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._unread[:end]).lower()
            whole = end + 4 + _content_length(head)
            if len(self._unread) < whole:
                return
            self._transport.write(self._judge(head, bytes(self._unread[end + 4 : whole])))
            del self._unread[:whole]

    def _judge(self, head: bytes, body: bytes) -> bytes:
        if body.startswith(POISON):
            return self._answer_to_poison
        self._received.note(head.split(b" ", 2)[1], body)
        return self._answer


def _content_length(head: bytes) -> int:
    _, _, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


async def main(status: int) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    received = Received()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: received.say(latencies=False))
    server = await loop.create_server(lambda: Connection(received, status), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopping.wait()
    received.say(latencies=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if sys.argv[1:] else 204))
