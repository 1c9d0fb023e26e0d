"""Describe one CDR while this process holds it."""

import hashlib
import math
import time
from dataclasses import dataclass, field, replace
from enum import Enum


def webhook_id(body: bytes) -> str:
    """Return the id under which every attempt of these bytes arrives, and that of its twins."""
    return f"cdr_{hashlib.sha256(body).hexdigest()[:32]}"


class Origin(Enum):
    """Says where a CDR was taken from, which decides how it leaves."""

    PENDING = "pending"
    """Claimed from pending and never attempted: it may be given back."""
    STRAY = "stray"
    """Found in our processing list: it may have been attempted."""
    RETRY = "retry"
    """Handed out by the retry set: it is not in a processing list."""


@dataclass(frozen=True, slots=True)
class History:
    """Records what is known of a CDR's failures. Times are milliseconds of Redis' clock; 0 means never."""

    attempts: int = 0
    strikes: int = 0
    first_failed_at: int = 0
    first_strike_at: int = 0
    last_failed_at: int = 0
    last_result: str = "-"
    first_rejected_at: int = 0
    replayed: bool = False

    def known_by(self, now: int) -> "History":
        """Return it with no time that is still to come: somebody has set the clock back since it was written."""
        times = (self.first_failed_at, self.first_strike_at, self.last_failed_at, self.first_rejected_at)
        if max(times) <= now:
            return self
        failed, struck, last, rejected = (min(time, now) for time in times)
        return replace(
            self, first_failed_at=failed, first_strike_at=struck, last_failed_at=last, first_rejected_at=rejected
        )


NEVER_FAILED = History()


@dataclass(eq=False, slots=True)
class Cdr:
    """Holds one list element. Its bytes are the POST body and the ack token: never decoded, never rewritten.

    `member` is the exact element of the retry set where the CDR came from there; `visible_until` (monotonic
    seconds) is when another process may be handed the same member.
    """

    body: bytes
    origin: Origin = Origin.PENDING
    history: History = NEVER_FAILED
    member: bytes = b""
    visible_until: float = math.inf
    claimed_at: float = field(init=False)
    webhook_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.claimed_at = time.monotonic()
        self.webhook_id = webhook_id(self.body)

    @property
    def size(self) -> int:
        return len(self.body)
