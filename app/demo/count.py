"""Count, for the demo, what was pushed and what the endpoint accepted."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from math import ceil

from app.demo.sample_endpoint import Arrival


@dataclass(frozen=True)
class Count:
    """Says where every CDR is.

    `altered` were never pushed like that, or came under another webhook-id. `waiting` are still to be delivered,
    `unacked` were delivered, and will be once more.
    """

    pushed: int
    delivered: int
    duplicates: int
    altered: int
    dead: int
    waiting: int
    unacked: int
    lost: int

    @property
    def complete(self) -> bool:
        faults = (self.altered, self.dead, self.waiting, self.unacked, self.lost)
        return self.pushed == self.delivered and not any(faults)

    def __str__(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in vars(self).items())


@dataclass
class Ledger:
    """Records what was pushed and what the endpoint accepted, byte for byte."""

    pushed: dict[bytes, float] = field(default_factory=dict)
    taken: Counter[bytes] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    misnamed: int = 0
    refused: int = 0
    retried: int = 0

    def arrived(self, arrival: Arrival) -> None:
        self.retried += arrival.attempt > 1
        if not arrival.taken:
            self.refused += 1
            return
        if arrival.body in self.pushed and arrival.body not in self.taken:
            self.latencies.append(arrival.at - self.pushed[arrival.body])
        self.taken[arrival.body] += 1
        self.misnamed += arrival.webhook_id != self.webhook_id(arrival.body)

    @staticmethod
    def webhook_id(body: bytes) -> str:
        """Return what the contract says. The service's own function is not used, since it is what is checked."""
        return f"cdr_{hashlib.sha256(body).hexdigest()[:32]}"

    @property
    def delivered(self) -> int:
        return len(self.pushed.keys() & self.taken.keys())

    @property
    def duplicates(self) -> int:
        return self.taken.total() - len(self.taken)

    def count(self, *, waiting: set[bytes], dead: set[bytes]) -> Count:
        """Count at the end; `waiting` is what Redis still has in the source and in processing."""
        unheard = self.pushed.keys() - self.taken.keys()
        return Count(
            pushed=len(self.pushed),
            delivered=self.delivered,
            duplicates=self.duplicates,
            altered=len(self.taken.keys() - self.pushed.keys()) + self.misnamed,
            dead=len(unheard & dead),
            waiting=len(unheard & waiting - dead),
            unacked=len(waiting & self.taken.keys()),
            lost=len(unheard - waiting - dead),
        )


def percentile(latencies: list[float], share: float) -> str:
    """Return the latency that `share` of them do not exceed, for a person."""
    if not latencies:
        return "-"
    seconds = sorted(latencies)[ceil(share * len(latencies)) - 1]
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
