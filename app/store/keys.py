"""Name every key in Redis. The names are a contract: operators and ACLs rely on them."""

from dataclasses import dataclass
from typing import Final

from app.config.redis_url import hash_tag
from app.config.source import DEFAULT_SOURCE, Source

MOST_SLOTS: Final = 64


@dataclass(frozen=True)
class LaneKeys:
    """Names the keys of one lane, or with `endpoint` None the short keys.

    `pending` is a list of ours, or the source itself where there is one endpoint.
    """

    integrator: str
    pending: str
    endpoint: str | None = None
    source: str = DEFAULT_SOURCE

    @property
    def retry(self) -> str:
        """Name the sorted set of deferred CDRs; the score is when they are due, in ms."""
        return self._key("retry")

    @property
    def retrying(self) -> str:
        """Name the sorted set of deferred CDRs that are handed out; the score is when their visibility ends, in ms."""
        return self._key("retrying")

    @property
    def dead(self) -> str:
        """Name the list of dead letters, oldest at the head."""
        return self._key("dead")

    @property
    def minutes(self) -> str:
        """Name the hash of minutes: what was delivered, what failed and what waited."""
        return self._key("minutes")

    @property
    def operations(self) -> str:
        """Name the list, with a TTL, of what operators' commands have done, for a running process to tell and count."""
        return self._key("operations")

    @property
    def waiting(self) -> tuple[str, str, str]:
        """Return the keys outside the processing lists that hold CDRs to deliver."""
        return self.pending, self.retry, self.retrying

    def operation(self, by: str) -> str:
        """Name the string, with a TTL, that numbers the last operation which an operator's command has applied."""
        return f"{self.dead}:operation:{by}"

    def slot(self, number: int) -> "Slot":
        return Slot(self.integrator, number, self.endpoint, self.source)

    def slots(self) -> list["Slot"]:
        return [self.slot(number) for number in range(1, MOST_SLOTS + 1)]

    def _key(self, place: str) -> str:
        return f"{base_of(self.integrator, self.endpoint)}:{place}:{self.source}"


@dataclass(frozen=True)
class Slot:
    """Names the keys that the owner of the n-th place for a process has in one lane, n = 1 … `MOST_SLOTS`.

    One owner has the lists of all lanes: the owner key is the same for each of them.
    """

    integrator: str
    number: int
    endpoint: str | None = None
    source: str = DEFAULT_SOURCE

    @property
    def processing(self) -> str:
        """Name the list of CDRs claimed and not yet acked, oldest at the head. Slot 1 has the documented name."""
        return base_of(self.integrator, self.endpoint) + self._suffix

    @property
    def owner(self) -> str:
        """Name the string whose TTL is the lease, and whose value says who owns this slot."""
        return f"{self.integrator}{self._suffix}:owner"

    @property
    def ops(self) -> str:
        """Name the hash of channels: the sequence number of the last operation applied, and whose they were."""
        return f"{self.processing}:ops"

    @property
    def report(self) -> str:
        """Name the string, with a TTL, in which the owner describes itself, as JSON."""
        return f"{self.integrator}{self._suffix}:report"

    @property
    def scratch(self) -> str:
        """Name a key that never exists: scripts try their rights on it."""
        return f"{self.processing}:scratch"

    @property
    def _suffix(self) -> str:
        number = "" if self.number == 1 else f":{self.number}"
        return f":processing:{self.source}{number}"


class Topology:
    """Answers which lanes and keys a source has."""

    def __init__(self, source: Source) -> None:
        self.source = source.name
        self.fans_out = source.fans_out
        self.endpoints = [endpoint.name for endpoint in source.endpoints]
        self.pending_oldest = source.pending_oldest
        self.source_oldest = source.oldest
        self.source_key = source.key
        in_cluster = source.redis.place.kind == "cluster"
        tag = f"{{{hash_tag(source.key)}}}:" if in_cluster else ""
        self.namespace = f"{tag}{source.integrator}"
        """What all our keys begin with; in a cluster it puts them into the hash slot of the source."""

    @property
    def short(self) -> LaneKeys:
        """Return the short keys: those of the only lane, or of what is to be distributed."""
        return LaneKeys(self.namespace, self.source_key, source=self.source)

    @property
    def lanes(self) -> dict[str, LaneKeys]:
        """Return the keys of each configured endpoint's lane."""
        return {name: self.lane(name) for name in self.endpoints}

    def lane(self, endpoint: str) -> LaneKeys:
        """Return the keys of an endpoint's lane, configured or not. CDR_WEBHOOK_URL alone has the short ones."""
        return self.named(endpoint) if self.fans_out or endpoint not in self.endpoints else self.short

    def named(self, endpoint: str) -> LaneKeys:
        """Return the keys that carry the endpoint's name."""
        pending = f"{base_of(self.namespace, endpoint)}:pending:{self.source}"
        return LaneKeys(self.namespace, pending, endpoint, self.source)

    @property
    def scratch(self) -> str:
        """Return the prefix of the keys on which our rights are tried at start; they never outlive the trial."""
        return f"{self.namespace}:scratch:{self.source}"


def base_of(integrator: str, endpoint: str | None) -> str:
    return f"{integrator}:{endpoint}" if endpoint else integrator
