"""What every key in Redis is called."""

from dataclasses import dataclass

MOST_SLOTS = 64


def base_of(integrator: str, endpoint: str | None) -> str:
    """Return what the keys of a lane begin with. A lane without endpoint is the one on the short keys."""
    return f"{integrator}:{endpoint}" if endpoint else integrator


@dataclass(frozen=True)
class Slot:
    """The n-th simultaneous process of an integrator, n = 1 … `MOST_SLOTS`, and the keys that it owns.

    There is one owner for the lists of every lane: a process that lives holds them all.
    """

    integrator: str
    number: int
    endpoint: str | None = None

    @property
    def processing(self) -> str:
        """List of CDRs claimed and not yet acked, oldest at the head. Slot 1 has the documented name."""
        return base_of(self.integrator, self.endpoint) + self._suffix

    @property
    def owner(self) -> str:
        """String with a TTL: who owns this slot. The TTL is the lease."""
        return f"{self.integrator}{self._suffix}:owner"

    @property
    def ops(self) -> str:
        """Hash: the last operation applied per channel, and whose they were."""
        return f"{self.processing}:ops"

    @property
    def _suffix(self) -> str:
        return ":processing:cdr" if self.number == 1 else f":processing:cdr:{self.number}"


@dataclass(frozen=True)
class LaneKeys:
    """The keys of one lane that do not depend on the slot."""

    integrator: str
    pending: str
    endpoint: str | None = None

    @property
    def failing(self) -> str:
        """Hash: webhook-id → failing record, of each CDR that was EXHAUSTED."""
        return f"{base_of(self.integrator, self.endpoint)}:failing:cdr"

    @property
    def dead(self) -> str:
        """List of dead letters, oldest at the head."""
        return f"{base_of(self.integrator, self.endpoint)}:dead:cdr"

    def operation(self, by: str) -> str:
        """String with a TTL: the last operation that somebody's command has applied to this lane."""
        return f"{self.dead}:operation:{by}"


def pending_of(integrator: str, endpoint: str) -> str:
    """Return the list that distribution fills for one endpoint."""
    return f"{base_of(integrator, endpoint)}:pending:cdr"


def all_slots(integrator: str, endpoint: str | None = None) -> list[Slot]:
    return [Slot(integrator, number, endpoint) for number in range(1, MOST_SLOTS + 1)]
