"""Receive CDRs over HTTP and answer as told: for the demo, for tests, and for trying things out."""

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from aiohttp import web

LARGEST_BODY = 16 * 1024 * 1024
LINGER = 1.0
"""Seconds for which the rest of a refused body is read: closing with unread bytes resets the connection."""

FAREWELL = 0.01
"""Seconds that a stop waits for answers; aiohttp takes 0 for «as long as they take»."""

SHOWN_CHARACTERS = 2_000


@dataclass(frozen=True)
class Arrival:
    """Holds one POST, with the status of the answer and the time of arrival (`time.monotonic`)."""

    webhook_id: str
    attempt: int
    body: bytes
    status: int
    at: float

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - this is what 2xx means


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
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_post("/{path:.*}", self._answer)
        quiet = logging.getLogger("sample_endpoint")
        quiet.setLevel(logging.CRITICAL)  # a broken request is answered, and no error of ours
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=quiet,
            shutdown_timeout=FAREWELL,
            lingering_time=LINGER,
            auto_decompress=False,
        )

    @property
    def url(self) -> str:
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/cdr"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return self

    async def stop(self) -> None:
        """Stop at once: whoever waits for an answer sees the connection end."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _answer(self, request: web.Request) -> web.Response:
        """Answer a POST. Its length must be known before its body, as a forwarder sends it."""
        length = request.content_length
        if length is None:
            return _refusal(web.HTTPLengthRequired)
        if length > LARGEST_BODY:
            return _refusal(web.HTTPRequestEntityTooLarge)
        return web.Response(status=await self.receive(request.headers, await request.read()))

    async def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Take note of a CDR, and return the status that answers it. Names of `headers` are found in any case."""
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


def _refusal(reason: type[web.HTTPException]) -> web.Response:
    refusal = web.Response(status=reason.status_code)
    refusal.force_close()
    return refusal


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
