"""Count what this process has claimed and not yet settled."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.cdr import Cdr, Origin


class InFlight:
    """Knows the CDRs in the inbox, with the workers, and those whose settlement is on its way to Redis.

    It is the truth about our processing list: whatever else stands there is a stray. Those that the retry set has
    handed out are counted apart, by their members: a retried twin must not hide a stray.
    """

    def __init__(self) -> None:
        self.number = 0
        self.size = 0
        """Bytes."""
        self._cdrs: dict[Cdr, None] = {}
        self._copies: dict[bytes, int] = {}
        self._members: set[bytes] = set()
        self._watchers: list[Counter[bytes]] = []

    @property
    def in_processing(self) -> int:
        """Return how many of them our processing list holds."""
        return self.number - len(self._members)

    @property
    def in_hand(self) -> int:
        """Return how many of them the retry set has handed out."""
        return len(self._members)

    @property
    def oldest_claimed_at(self) -> float | None:
        """Return when the first of them was claimed, on the monotonic clock: they are kept in that order."""
        return next((cdr.claimed_at for cdr in self._cdrs), None)

    def has_member(self, member: bytes) -> bool:
        return member in self._members

    def add(self, cdr: Cdr) -> None:
        self._cdrs[cdr] = None
        self.number += 1
        self.size += cdr.size
        if cdr.origin is Origin.RETRY:
            self._members.add(cdr.member)
            return
        self._copies[cdr.body] = self._copies.get(cdr.body, 0) + 1
        for watcher in self._watchers:
            watcher[cdr.body] += 1

    def remove(self, cdr: Cdr) -> None:
        del self._cdrs[cdr]
        self.number -= 1
        self.size -= cdr.size
        if cdr.origin is Origin.RETRY:
            self._members.discard(cdr.member)
            return
        if copies := self._copies[cdr.body] - 1:
            self._copies[cdr.body] = copies
        else:
            del self._copies[cdr.body]

    @contextmanager
    def watched(self) -> Iterator[Counter[bytes]]:
        """Count what our processing list may hold because of us: what is in flight now, and all that joins."""
        known = Counter(self._copies)
        self._watchers.append(known)
        try:
            yield known
        finally:
            self._watchers.remove(known)
