"""A simulated webhook endpoint: it answers, or fails, in every way that its mood says."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.simulation.network import Network, Transport
from tests.simulation.process import Process

PORT: Final = 80
MOST_HEAD: Final = 64 * 1024

REASONS: Final = {200: "OK", 202: "Accepted", 204: "No Content", 400: "Bad Request", 500: "Internal Server Error"}


@dataclass(frozen=True, eq=False)
class Request:
    """A POST that has arrived whole."""

    body: bytes
    headers: Mapping[str, str]
    cdrs: tuple[bytes, ...]
    process: Process | None
    connection: Transport

    @property
    def is_awaited(self) -> bool:
        """Whether whoever posted it still waits for an answer, and none has been sent."""
        peer = self.connection.peer
        return (
            not (self.connection.is_closing() or peer.is_closing() or peer.in_a_hole)
            and peer.process is not None
            and peer.process.alive
        )


Judge = Callable[[Request], str]
"""Returns the name of what is done with a request: a status, or one of `TRICKS`."""

TRICKS: Final = (
    *("hang", "reset", "half", "garbage", "late", "slow", "close"),
    *("2xx-junk", "2xx-twice", "2xx-reset", "2xx-hang", "2xx-chunked", "2xx-close", "2xx-late"),
)
"""Ways to answer, or not to, that are no plain status. Those with 2xx are deliveries."""


@dataclass(eq=False)
class Endpoint:
    """Tells of each POST that has come whole, that is answered now, and whose 2xx has arrived."""

    name: str
    network: Network
    process: Process
    chance: Random
    read: Callable[[bytes, Mapping[str, str]], tuple[bytes, ...]]
    """Returns the CDRs of a body."""
    judge: Judge
    on_request: Callable[["Endpoint", Request, str], None]
    on_delivered: Callable[["Endpoint", Request], None]
    on_closed: Callable[["Endpoint", Request], None]
    resets_first: float = 0.0
    """How often a connection is reset before the request has been read."""
    answers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.listen()

    def listen(self) -> None:
        self.network.listen(self.process, PORT, lambda: _Connection(self))


class _Connection(asyncio.Protocol):
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: Transport
        self._read = bytearray()
        self._busy = False
        self._doomed = endpoint.chance.random() < endpoint.resets_first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._doomed:
            self._transport.abort()
            return
        self._read += data
        self._serve()

    def _serve(self) -> None:
        head, end, rest = bytes(self._read).partition(b"\r\n\r\n")
        if not end or self._busy:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers["content-length"])
        if len(rest) < length:
            return
        assert first.startswith("POST "), first
        self._busy = True
        self._read = bytearray(rest[length:])
        cdrs = self._endpoint.read(rest[:length], headers)
        self._answer(Request(rest[:length], headers, cdrs, self._transport.peer.process, self._transport))

    def _answer(self, request: Request) -> None:
        endpoint = self._endpoint
        answer = endpoint.judge(request)
        endpoint.answers[answer] += 1
        endpoint.on_request(endpoint, request, answer)
        self._after(self._pause(answer), lambda: self._carry_out(answer, request))

    def _pause(self, answer: str) -> float:
        chance = self._endpoint.chance
        if answer.endswith("late"):
            return 15 + chance.uniform(-1.0, 10.0)
        return chance.uniform(2.0, 10.0) if answer == "slow" else chance.expovariate(1 / 0.01)

    def _after(self, seconds: float, work: Callable[[], None]) -> None:
        def unless_closed() -> None:
            if not self._transport.is_closing():
                work()

        self._endpoint.network.loop.call_later(seconds, unless_closed, context=self._endpoint.process.context())

    def _carry_out(self, answer: str, request: Request) -> None:
        if answer not in ("hang", "2xx-hang"):
            self._endpoint.on_closed(self._endpoint, request)
        match answer:
            case "hang":
                pass
            case "reset":
                self._transport.abort()
            case "half":
                self._transport.write(b"HTTP/1.1 20")
                self._transport.close()
            case "garbage":
                self._transport.write(b"220 mail.example ESMTP\r\n\r\n")
                self._transport.close()
            case "late" | "slow":
                self._deliver(request, b"204 No Content", b"\r\n")
                self._next()
            case "close":
                self._transport.close()
            case _ if answer.startswith("2xx"):
                self._deliver_with(answer, request)
            case _:
                self._plain(answer, request)

    def _plain(self, answer: str, request: Request) -> None:
        status, _, hold = answer.partition("+")
        more = b"retry-after: %s\r\n" % hold.encode() if hold else b""
        line = f"{status} {REASONS.get(int(status), 'Status')}".encode()
        length = b"" if status == "204" else b"content-length: 2\r\n"
        rest = b"" if status == "204" else b"ok"
        if status.startswith("2"):
            self._deliver(request, line, more + length + b"\r\n" + rest)
        else:
            self._transport.write(b"HTTP/1.1 %b\r\n%b\r\n%b" % (line, more + length, rest))
        self._next()

    def _deliver_with(self, answer: str, request: Request) -> None:
        match answer:
            case "2xx-junk":  # in one piece: what comes after the next request cannot be told from its answer
                self._transport.whole = True
                self._deliver(request, b"204 No Content", b"\r\nand more")
            case "2xx-twice":
                self._transport.whole = True
                self._deliver(request, b"204 No Content", b"\r\nHTTP/1.1 204 No Content\r\n\r\n")
            case "2xx-reset":
                self._deliver(request, b"200 OK", b"content-length: 9\r\n\r\nhalf")
                self._after(0.001, self._transport.abort)
            case "2xx-hang":
                self._deliver(request, b"200 OK", b"content-length: 9\r\n\r\nhalf")
            case "2xx-chunked":
                self._deliver(request, b"200 OK", b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
                self._next()
            case "2xx-close":
                self._deliver(request, b"202 Accepted", b"connection: close\r\ncontent-length: 0\r\n\r\n")
                self._transport.close()
            case "2xx-late":
                self._deliver(request, b"204 No Content", b"\r\n")
                self._next()

    def _deliver(self, request: Request, line: bytes, rest: bytes) -> None:
        endpoint = self._endpoint
        head = b"HTTP/1.1 %b\r\n" % line
        self._transport.write(head + rest, lambda: endpoint.on_delivered(endpoint, request), len(head) - 1)

    def _next(self) -> None:
        self._busy = False
        self._serve()
