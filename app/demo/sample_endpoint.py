"""What a receiver of CDRs looks like, for the demo and for trying things out."""

import argparse
import asyncio
import json
import re
import signal
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

LARGEST_BODY = 16 * 1024 * 1024
LENGTH = re.compile(r"[0-9]{1,12}")
PATIENCE = 1.0
SHOWN_CHARACTERS = 2_000


@dataclass(frozen=True)
class Arrival:
    """One POST, with the status it was answered with and when it was here (`time.monotonic`)."""

    webhook_id: str
    attempt: int
    body: bytes
    status: int
    at: float

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - this is what 2xx means


class RefusedRequestError(Exception):
    """The request is not one that we can read; answer `status` and hang up."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def content_length(head: bytes) -> tuple[int, dict[str, str]]:
    """Return the size of the body that follows, and the headers with names in lower case."""
    request, *lines = head.decode("latin-1").split("\r\n")
    if not request.endswith((" HTTP/1.1", " HTTP/1.0")):
        raise RefusedRequestError(HTTPStatus.BAD_REQUEST)
    if not request.startswith("POST "):
        raise RefusedRequestError(HTTPStatus.METHOD_NOT_ALLOWED)
    fields = [line.partition(":") for line in lines if line]
    headers = {name.lower(): value.strip() for name, _, value in fields}
    length = headers.get("content-length")
    if length is None or "transfer-encoding" in headers:
        raise RefusedRequestError(HTTPStatus.LENGTH_REQUIRED)
    if not LENGTH.fullmatch(length) or not all(colon for _, colon, _ in fields):
        raise RefusedRequestError(HTTPStatus.BAD_REQUEST)
    if int(length) > LARGEST_BODY:
        raise RefusedRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return int(length), headers


class SampleEndpoint:
    """Answers `status`, or what `judge` makes of the body, after `delay` seconds; all may be changed at any time.

    `taken` counts per webhook-id what was answered 2xx, `refused` all else, `open` what waits for its answer.
    """

    def __init__(self, on_arrival: Callable[[Arrival], None] | None = None) -> None:
        self.status = 204
        self.delay = 0.0
        self.judge: Callable[[bytes], int] = lambda _: self.status
        self.taken: Counter[str] = Counter()
        self.refused = 0
        self.open = 0
        self._on_arrival = on_arrival
        self._server: asyncio.Server
        self._talks: dict[asyncio.Task[None], StreamWriter] = {}

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}/cdr"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Self:
        self._server = await asyncio.start_server(self._talk, host, port)
        return self

    async def stop(self) -> None:
        self._server.close()
        for writer in self._talks.values():
            writer.transport.abort()
        if self._talks:
            await asyncio.wait(self._talks)
        await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _talk(self, reader: StreamReader, writer: StreamWriter) -> None:
        me = asyncio.current_task()
        assert me  # noqa: S101 - asyncio runs every connection as a task
        self._talks[me] = writer
        try:
            while await self._serve(reader, writer):
                pass
            await _hang_up(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # they hung up, which ends the talk as well as anything
        finally:
            del self._talks[me]
            writer.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> bool:
        """Handle one request; return whether another one may follow on this connection."""
        try:
            length, headers = content_length(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            return await _answer(writer, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, last=True)
        except RefusedRequestError as refusal:
            return await _answer(writer, refusal.status, last=True)
        body = await reader.readexactly(length)
        status = await self._receive(headers, body)
        return await _answer(writer, status, last=headers.get("connection", "").lower() == "close")

    async def _receive(self, headers: dict[str, str], body: bytes) -> int:
        at = time.monotonic()
        self.open += 1
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.open -= 1
        attempt = headers.get("webhook-attempt", "")
        number = int(attempt) if attempt.isdecimal() else 0
        arrival = Arrival(headers.get("webhook-id", ""), number, body, self.judge(body), at)
        if arrival.taken:
            self.taken[arrival.webhook_id] += 1
        else:
            self.refused += 1
        if self._on_arrival:
            self._on_arrival(arrival)
        return arrival.status


async def _answer(writer: StreamWriter, status: int, *, last: bool) -> bool:
    reason = HTTPStatus(status).phrase
    length = "" if status == HTTPStatus.NO_CONTENT else "content-length: 0\r\n"
    connection = "close" if last else "keep-alive"
    writer.write(f"HTTP/1.1 {status} {reason}\r\n{length}connection: {connection}\r\n\r\n".encode())
    await writer.drain()
    return not last


async def _hang_up(reader: StreamReader, writer: StreamWriter) -> None:
    # Closing with unread bytes would be a reset, which may overtake the answer.
    writer.write_eof()
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while await reader.read(LARGEST_BODY):
                pass


def describe(arrival: Arrival) -> str:
    """Return one line. It shows the CDR, because this is its receiver: the forwarder itself never does."""
    try:
        content = json.dumps(json.loads(arrival.body))
    except ValueError:
        content = repr(arrival.body)
    head = f"{arrival.webhook_id or '(no webhook-id)'} attempt {arrival.attempt}, {len(arrival.body)} bytes"
    return f"{head}: {content[:SHOWN_CHARACTERS]}"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve(host: str, port: int) -> None:
    """Receive CDRs until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    endpoint = await SampleEndpoint(lambda arrival: say(describe(arrival))).start(host, port)
    say(f"Receiving CDRs at {endpoint.url}")
    await stopped.wait()
    await endpoint.stop()
    say(f"Received {endpoint.taken.total()} CDRs, {len(endpoint.taken)} different ones")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m app.demo.sample_endpoint", description="Receive CDRs and print them."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    asked = parser.parse_args()
    asyncio.run(serve(asked.host, asked.port))


if __name__ == "__main__":
    main()
