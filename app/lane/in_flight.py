"""What is being delivered, and how much more may be."""

from collections import Counter
from typing import Final

from app.cdr import Cdr

MOST_BYTES: Final = 32 * 1024 * 1024
"""In flight at once, whatever the concurrency; a single CDR may exceed it."""


class InFlight:
    """A multiset of CDRs, twins counted, from the claim until the reply to the ack.

    It is the truth about a processing list: whatever else stands there is lost or parked.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.number = 0
        self.retried = 0
        self._reserved = 0
        self._bytes = 0
        self._copies: Counter[bytes] = Counter()
        self._cdrs: dict[Cdr, None] = {}

    @property
    def free(self) -> int:
        """Slots that may be filled now."""
        return max(0, self.slots - self.number - self._reserved) if self._bytes < MOST_BYTES else 0

    @property
    def free_bytes(self) -> int:
        return max(1, MOST_BYTES - self._bytes)

    @property
    def oldest_claimed_at(self) -> float | None:
        """When the first of them was claimed, on the monotonic clock: they are kept in that order."""
        return next((cdr.claimed_at for cdr in self._cdrs), None)

    def copies(self, body: bytes) -> int:
        return self._copies[body]

    def reserve(self, slots: int) -> None:
        """Set slots aside for what a claim on the wire may bring."""
        self._reserved += slots

    def release(self, slots: int) -> None:
        self._reserved -= slots

    def add(self, cdr: Cdr) -> None:
        self._cdrs[cdr] = None
        self._count(cdr, 1)

    def remove(self, cdr: Cdr) -> None:
        del self._cdrs[cdr]
        self._count(cdr, -1)
        if not self._copies[cdr.body]:
            del self._copies[cdr.body]

    def _count(self, cdr: Cdr, change: int) -> None:
        self._copies[cdr.body] += change
        self.number += change
        self.retried += change * (cdr.failing is not None)
        self._bytes += change * len(cdr.body)
