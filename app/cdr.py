"""What is known of one CDR while it is with us."""

import hashlib
import time
from dataclasses import dataclass, field
from functools import cached_property

from app.lane.parking import FailingRecord


def webhook_id(body: bytes) -> str:
    """Return the id under which every attempt of these bytes arrives, and that of its twins."""
    return f"cdr_{hashlib.sha256(body).hexdigest()[:32]}"


@dataclass(eq=False)
class Cdr:
    """One list element. Its bytes are the POST body and the ack token: never decoded, never rewritten."""

    body: bytes
    recovered: bool = False
    failing: FailingRecord | None = None
    attempts: int = 0
    claimed_at: float = field(default_factory=time.monotonic)

    @cached_property
    def webhook_id(self) -> str:
        return webhook_id(self.body)
