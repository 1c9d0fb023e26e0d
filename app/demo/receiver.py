"""Receive CDRs as an integrator's own program would, and print what happens: to try a forwarder with."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.delivery.signature import unverified
from app.demo.members import Member
from app.demo.sample_endpoint import Arrival, SampleEndpoint
from app.errors import CommandError
from app.telemetry.printable import escaped, plain

SHOWN_CHARACTERS: Final = 2_000
UNAUTHORIZED: Final = 401
UNAVAILABLE: Final = 503


@dataclass(frozen=True)
class Manner:
    """Says how it receives. `fail`: the share of requests that is answered 503; `keys`: none means not verified."""

    status: int = 204
    fail: float = 0.0
    delay: float = 0.0
    keys: tuple[bytes, ...] = ()
    shows_bodies: bool = True


class Receiver(SampleEndpoint):
    """Verifies, deduplicates by webhook-id, and prints a line for each request, and for each CDR of a batch."""

    def __init__(self, manner: Manner) -> None:
        super().__init__(self._tell)
        self._manner = manner
        self.status, self.delay = manner.status, manner.delay
        self.judge = self._judged
        self.unverified = 0
        self._known: set[str] = set()

    @property
    def summary(self) -> str:
        duplicates = self.taken.total() - len(self.taken)
        return (
            f"Received {len(self.taken)} CDRs and {duplicates} duplicates, refused {self.refused} requests, "
            f"and {self.unverified} whose signature is not right"
        )

    async def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        keys = self._manner.keys
        if keys and (wrong := unverified(keys, headers, body, time.time())):
            self.unverified += 1
            _say(f"{UNAUTHORIZED} {plain(headers.get('webhook-id', '(no webhook-id)'))} {wrong}")
            return UNAUTHORIZED
        return await super().receive(headers, body)

    def _judged(self, _: bytes) -> int:
        # To see what a failing receiver does, and not to keep a secret.
        return UNAVAILABLE if random.random() < self._manner.fail else self.status  # noqa: S311

    def _tell(self, arrival: Arrival) -> None:
        head = f"{arrival.status} {plain(arrival.webhook_id) or '(no webhook-id)'}"
        size = f"attempt {arrival.attempt}, {len(arrival.body)} bytes"
        match arrival.members:
            case [Member(webhook_id, body)] if webhook_id == arrival.webhook_id:
                _say(f"{head} {self._news(arrival, webhook_id)}, {size}{self._content(body)}")
            case []:
                _say(f"{head} a batch that cannot be read, {size}{self._content(arrival.body)}")
            case members:
                _say(f"{head} {len(members)} in a batch, {size}")
                for webhook_id, body in members:
                    news = self._news(arrival, webhook_id)
                    _say(f"    {webhook_id} {news}, {len(body)} bytes{self._content(body)}")

    def _news(self, arrival: Arrival, webhook_id: str) -> str:
        if not arrival.taken:
            return "refused"
        is_new = webhook_id not in self._known
        self._known.add(webhook_id)
        return "new" if is_new else "duplicate"

    def _content(self, body: bytes) -> str:
        return f": {_shown(body)}" if self._manner.shows_bodies else ""


async def serve(host: str, port: int, manner: Manner) -> None:
    """Receive until SIGTERM or SIGINT. Raises CommandError where it cannot listen."""
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    receiver = Receiver(manner)
    try:
        await receiver.start(host, port)
    except OSError as error:
        raise CommandError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port") from error
    verifies = "signatures are verified" if manner.keys else "signatures are not verified, since no secret is given"
    _say(f"Receiving CDRs at {receiver.url}; {verifies}")
    await stopped.wait()
    await receiver.stop()
    _say(receiver.summary)


def _shown(body: bytes) -> str:
    text = escaped(body)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
