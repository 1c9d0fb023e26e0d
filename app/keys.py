"""What every key in Redis is called."""

from dataclasses import dataclass

MOST_SLOTS = 64


@dataclass(frozen=True)
class Slot:
    """The n-th simultaneous process of an integrator, n = 1 … `MOST_SLOTS`, and the keys that it owns."""

    integrator: str
    number: int

    @property
    def processing(self) -> str:
        """List of CDRs claimed and not yet acked, oldest at the head. Slot 1 has the documented name."""
        base = f"{self.integrator}:processing:cdr"
        return base if self.number == 1 else f"{base}:{self.number}"

    @property
    def owner(self) -> str:
        """String with a TTL: who owns this slot. The TTL is the lease."""
        return f"{self.processing}:owner"

    @property
    def ops(self) -> str:
        """Hash: the last operation applied per channel, and whose they were."""
        return f"{self.processing}:ops"


@dataclass(frozen=True)
class LaneKeys:
    """The keys of one lane that do not depend on the slot."""

    integrator: str
    pending: str

    @property
    def failing(self) -> str:
        """Hash: webhook-id → failing record, of each CDR that was EXHAUSTED."""
        return f"{self.integrator}:failing:cdr"

    @property
    def dead(self) -> str:
        """List of dead letters, oldest at the head."""
        return f"{self.integrator}:dead:cdr"

    @property
    def scratch(self) -> str:
        """Prefix of the keys on which our rights are tried at start; never outlives the trial."""
        return f"{self.integrator}:scratch"


def all_slots(integrator: str) -> list[Slot]:
    return [Slot(integrator, number) for number in range(1, MOST_SLOTS + 1)]
