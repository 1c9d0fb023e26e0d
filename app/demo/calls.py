"""Write CDRs as Enigma does, for the demo."""

import asyncio
import json
import time
from contextlib import suppress

from redis.asyncio import Redis

from app.demo.count import Ledger

ENDINGS = (
    ("ANSWERED", 16),
    ("ANSWERED", 16),
    ("NO ANSWER", 19),
    ("BUSY", 17),
    ("ANSWERED", 16),
    ("CANCEL", 31),
)


def invent(number: int) -> bytes:
    """Return the CDR of one fictional call, as Enigma writes them; no two are alike."""
    reason, code = ENDINGS[number % len(ENDINGS)]
    seconds = number * 37 % 600 if code == ENDINGS[0][1] else 0
    call = f"{int(time.time()) - seconds}-{number:06d}"
    payload = {
        "extension": str(1001 + number % 60),
        "number": f"08255501{number % 100:02d}",
        "dial_number": f"01055501{number * 7 % 100:02d}",
        "call_ref": f"c2d-{call}",
        "contact_ref": f"ACC-{90000 + number % 9973}",
        "dialed_at": int(time.time()) - seconds,
        "end_reason": reason,
        "end_code": code,
        "call_time": seconds,
        "hold_time": seconds // 9,
        "call_dir": "inbound" if number % 4 == 0 else "outbound",
        "recording_url": f"rec-{call}",
        "ref": "click-dial",
    }
    return json.dumps({"type": "cdr", "payload": payload}).encode()


class Enigma:
    """Appends a CDR per ended call, `rate` a second, until `hang_up`."""

    def __init__(self, redis: Redis, source: str, rate: float, ledger: Ledger) -> None:
        self._redis = redis
        self._source = source
        self._pause = 1 / rate
        self._ledger = ledger
        self._hung_up = asyncio.Event()

    async def call(self) -> None:
        # Told, not cancelled: a cancelled RPUSH may have been applied or not, and the count would be a guess.
        due = time.monotonic()
        while not self._hung_up.is_set():
            body = invent(len(self._ledger.pushed))
            self._ledger.pushed[body] = time.monotonic()
            await self._redis.rpush(self._source, body)
            due = max(due + self._pause, time.monotonic())
            with suppress(TimeoutError):
                async with asyncio.timeout(due - time.monotonic()):
                    await self._hung_up.wait()

    def hang_up(self) -> None:
        self._hung_up.set()
