"""Hold what one exchange with Redis is asked to do, and what it did."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

TakenFrom = Literal["processing", "retry", "hand"]
MovedTo = Literal["", "retry", "dead", "pending"]


class Settlement(NamedTuple):
    """Says what Redis does with one CDR that is in flight: takes `element` out of one key, pushes it to another.

    `taken_from`: `processing` is our list, `retry` whichever retry set holds it, `hand` only the set of those that are
    handed out. `moved_to` empty: acked. `delay`: seconds until a deferred one is due.
    """

    taken_from: TakenFrom
    moved_to: MovedTo
    element: bytes
    pushed: bytes = b""
    delay: float = 0.0

    @property
    def weight(self) -> int:
        return len(self.element) + len(self.pushed)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Limits how much a claim may bring.

    `early`: None hands out only deferred CDRs that are due; otherwise the earliest one, due or not, but not the one
    whose bytes have this SHA-1 while there is another.
    """

    new: int = 0
    deferred: int = 0
    most_bytes: int = 1
    early: str | None = None

    @property
    def brings(self) -> bool:
        """Tell whether it may bring anything."""
        return self.new > 0 or self.deferred > 0


@dataclass(frozen=True, slots=True)
class Exchanged:
    """Holds what one exchange did.

    `results`: for each settlement True, False where there was nothing to take out, or the text of what refused it.
    `sent_again`: whether a reply was lost, so that it was sent again. `answered` False: the lost reply was that of the
    try which was applied, so only `results` is known. What it claimed is in our processing list, where a sweep finds
    it; what it handed out comes back when its visibility ends.
    `next_due`: seconds until a deferred CDR is due; None where there is none. `pending`, `deferred`: how many are
    left, those that are handed out among them.
    """

    results: list[bool | str]
    sent_again: bool
    answered: bool
    claimed: list[bytes] = field(default_factory=list)
    handed_out: list[bytes] = field(default_factory=list)
    next_due: float | None = None
    pending: int = 0
    deferred: int = 0
    refused: bool = False

    @property
    def size(self) -> int:
        """Return how many bytes of CDRs it brought."""
        return sum(map(len, self.claimed)) + sum(map(len, self.handed_out))


@dataclass(frozen=True, slots=True)
class Distributed:
    given: int
    wants_more: bool
    refusal: str
