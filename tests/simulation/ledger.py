"""The laws that hold at every step, and what is known of each CDR.

Whoever changes Redis is seen here, one atomic unit at a time: a command, or a whole script.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.simulation.endpoint import Request
from tests.simulation.keys import SHARED, Layout, Place, payload_of
from tests.simulation.process import Process
from tests.simulation.redis.engine import HISTORY, Changes, Engine
from tests.simulation.redis.server import Client
from tests.simulation.redis.values import SortedSet, Value
from tests.simulation.trace import Trace

TRUSTED_PART: Final = 0.7
CONNECT_TIMEOUT: Final = 5.5
"""Of its lease, and seconds: an attempt that passed its gate just before the end may have to connect first."""

REJECTED_FOR: Final = 59.0
"""Seconds between the first and the last rejection of a dead letter, at least."""

REJECTIONS: Final = ("400", "413", "415", "422")
ONLY: Final = "webhook"
"""The name of the endpoint that stands alone."""


class LawBrokenError(Exception):
    """What must never happen has happened. `law` is its short name."""

    def __init__(self, law: str, what: str) -> None:
        super().__init__(f"{law}: {what}")
        self.law = law


@dataclass(eq=False)
class Pool:
    """The CDRs that one endpoint still needs, twins counted."""

    name: str
    arrived: Counter[bytes] = field(default_factory=Counter)
    held: Counter[bytes] = field(default_factory=Counter)
    passed_on: Counter[bytes] = field(default_factory=Counter)
    """Distributed, dropped, or rerouted."""
    delivered: Counter[bytes] = field(default_factory=Counter)

    def missing(self, payload: bytes) -> int:
        """Return how many have left Redis, and were neither passed on nor delivered."""
        gone = self.arrived[payload] - self.held[payload] - self.passed_on[payload]
        return gone - self.delivered[payload]


@dataclass(frozen=True)
class Member:
    """What the laws need to know of a process."""

    role: str
    """`service`, or what an operator does: `inject`, `drop`, `replay`, `reroute`."""
    endpoints: tuple[str, ...] = ()
    fans_out: bool = False
    lease: float = 15.0
    concurrency: int = 32


Entry = tuple[Counter[bytes], bytes, int]


class Ledger:
    """Raises LawBrokenError in the middle of the unit, or of the delivery, that breaks a law."""

    def __init__(self, layout: Layout, engine: Engine, trace: Trace, clock: Callable[[], float]) -> None:
        self.layout = layout
        self.engine = engine
        self.trace = trace
        self.pools: dict[str, Pool] = {}
        self.members: dict[Process, Member] = {}
        self.moved_at = 0.0
        """When a CDR was moved or posted last."""
        self.rejected: dict[tuple[str, bytes], list[float]] = {}
        self.accepted: dict[str, list[tuple[float, bytes]]] = {}
        self.clock_is_true = True
        """Nobody has set Redis' clock."""
        self.open: dict[tuple[str, bytes], list[Request]] = {}
        self._excused: set[bytes] = set()
        self._excused_alone: set[bytes] = set()
        self.units = 0
        self.broken: LawBrokenError | None = None
        self._clock = clock
        self._entries: deque[list[Entry]] = deque(maxlen=HISTORY)
        self._owners: dict[bytes, Process] = {}
        self._renewed: dict[Process, float] = {}
        self._stale: Counter[Process] = Counter()
        self._lease_ends: dict[bytes, float] = {}
        self._last_owner: dict[bytes, Process] = {}
        self._adopted: set[bytes] = set()

    def pool(self, name: str) -> Pool:
        """Return an endpoint's. The only one, without lists of its own, has the shared one."""
        if name not in self.pools:
            self.pools[name] = Pool(name)
        return self.pools[name]

    def pool_of(self, endpoint: str) -> Pool:
        """Return the pool that an endpoint's deliveries count for."""
        return self.pool(SHARED if endpoint == ONLY else endpoint)

    def excuse(self, *, even_alone: bool = False) -> None:
        """Let what has arrived so far be delivered twice; what comes later has no excuse.

        `even_alone`: one process may post it twice at once. Redis has lost writes, or somebody has moved its clock, so
        that what is in hand is handed out again; deferred by another process, it is another member for the first.
        """
        for pool in self.pools.values():
            self._excused.update(pool.arrived)
            if even_alone:
                self._excused_alone.update(pool.arrived)

    # Redis.

    def on_unit(self, client: Client, args: list[bytes], changes: Changes) -> None:
        self.units += 1
        process = client.process
        places: dict[bytes, tuple[Place, Counter[bytes]]] = {}
        for key, before in changes.items():
            if place := self.layout.place(key):
                delta = difference(place, before.value, self.engine.data.get(key))
                if delta:
                    places[key] = place, delta
            elif self.layout.is_owner(key):
                self._note_owner(key, process)
        entries: list[Entry] = []
        self._entries.append(entries)
        if places:
            self.moved_at = self._clock()
            self.trace.unit(self._clock(), process.name if process else "Enigma", args, list(places.values()))
            self._account(process, list(places.values()), entries)

    def _note_owner(self, key: bytes, process: Process | None) -> None:
        now = self._clock()
        value, expires = self.engine.data.get(key), self.engine.expires.get(key)
        self._lease_ends[key] = now if expires is None else now + (expires - self.engine.now()) / 1000
        if isinstance(value, bytes) and process is not None:
            if self._last_owner.get(key, process) is not process:
                self.excuse()
            self._last_owner[key] = process
            self._owners.setdefault(value, process)
            if now - self._renewed.get(process, now) >= self.members[process].lease:
                # What was adopted meanwhile is still in its memory, too, and may come back to it from the retry set.
                self.excuse(even_alone=key in self._adopted)
            self._renewed[process] = now
            self._stale[process] = 0

    def _account(
        self, process: Process | None, places: list[tuple[Place, Counter[bytes]]], entries: list[Entry]
    ) -> None:
        member = self.members[process] if process else Member("enigma")
        deltas: dict[str, Counter[bytes]] = {}
        for place, delta in places:
            deltas.setdefault(place.pool, Counter()).update(delta)
            if process and member.role == "service":
                self._is_fenced(process, place, delta)
            if place.kind == "dead" and member.role == "service":
                self._is_rejected(place, delta)
        shared = deltas.get(SHARED, Counter())
        for name, delta in deltas.items():
            pool = self.pool(name)
            for payload, number in delta.items():
                self._note(entries, pool.held, payload, number)
                self._explain(member, pool, payload, number, shared, entries)
        if member.fans_out and member.role == "service":
            self._distributed(member, shared, deltas)

    def _explain(
        self, member: Member, pool: Pool, payload: bytes, number: int, shared: Counter[bytes], entries: list[Entry]
    ) -> None:
        """Find out why there are more, or fewer, of a payload."""
        match member.role:
            case "enigma" | "inject":
                self._note(entries, pool.arrived, payload, number)
            case "reroute":
                self._note(entries, pool.arrived, payload, number)
            case "drop" if number < 0:
                self._note(entries, pool.passed_on, payload, -number)
            case "service" if member.fans_out and pool.name == SHARED and number < 0:
                self._note(entries, pool.passed_on, payload, -number)
            case "service" if member.fans_out and pool.name in member.endpoints and shared[payload] < 0:
                self._note(entries, pool.arrived, payload, -shared[payload])
                self._not_multiplied(pool, payload, number + shared[payload])
            case _:
                self._not_multiplied(pool, payload, number)
        self.not_lost(pool, payload)

    def _not_multiplied(self, pool: Pool, payload: bytes, number: int) -> None:
        if number > 0:
            self._break("multiplied", f"{self.trace.name(payload)} of {pool.name or 'all'}: {number} more than before")

    def not_lost(self, pool: Pool, payload: bytes) -> None:
        if pool.missing(payload) > 0:
            self._break(
                "lost",
                f"{self.trace.name(payload)} of {pool.name or 'all'}: {pool.arrived[payload]} arrived, "
                f"{pool.held[payload]} are in Redis, {pool.passed_on[payload]} passed on, "
                f"{pool.delivered[payload]} delivered",
            )

    def _distributed(self, member: Member, shared: Counter[bytes], deltas: dict[str, Counter[bytes]]) -> None:
        for payload, number in shared.items():
            if number < 0:
                for endpoint in member.endpoints:
                    if not deltas.get(endpoint, Counter())[payload]:
                        self._break("lost", f"{self.trace.name(payload)} was not distributed to {endpoint}")

    def _is_fenced(self, process: Process, place: Place, delta: Counter[bytes]) -> None:
        """Only its owner takes something out of a processing list; any other process, where it has had none a while."""
        if place.kind != "processing" or not any(number < 0 for number in delta.values()):
            return
        key = self.layout.owner_key(place.slot)
        value = self.engine.any(key)
        owner = self._owners.get(value) if isinstance(value, bytes) else None
        if owner is not None and owner is not process and self._has_lane(owner, place):
            self._break("fenced", f"{process.name} takes from {place}, which {owner.name} owns")
        if owner is not process:
            self.excuse()  # it takes over what may have been delivered
            self._adopted.add(key)
        since = self._clock() - self._lease_ends.get(key, 0.0)
        if value is None and self.clock_is_true and since < self.members[process].lease / 2:
            self._break("eager", f"{process.name} takes from {place} {since:.1f} s after its owner was gone")

    def _has_lane(self, owner: Process, place: Place) -> bool:
        return place.pool == SHARED or place.pool in self.members[owner].endpoints

    def _is_rejected(self, place: Place, delta: Counter[bytes]) -> None:
        """A dead letter needs two rejections a minute apart, and another CDR that was accepted in between."""
        name = place.pool or ONLY
        for payload, number in delta.items():
            if number <= 0:
                continue
            times = self.rejected.get((name, payload), [])
            if len(times) < 2 or (self.clock_is_true and times[-1] - times[0] < REJECTED_FOR):
                self._break("dead letter", f"{self.trace.name(payload)} of {name}, rejected {len(times)} times")
            others = self.accepted.get(name, [])
            if not any(times[0] < at < times[-1] and other != payload for at, other in others):
                self._break("dead letter", f"{self.trace.name(payload)}, though {name} accepted no other CDR")

    def _note(self, entries: list[Entry], counter: Counter[bytes], payload: bytes, number: int) -> None:
        counter[payload] += number
        entries.append((counter, payload, number))

    def forget(self, units: int) -> None:
        """Redis has lost its last units."""
        for _ in range(units):
            for counter, payload, number in self._entries.pop():
                counter[payload] -= number
        if units:
            self.excuse(even_alone=True)
            self._lease_ends.clear()

    # Endpoints.

    def on_post(self, process: Process) -> None:
        """A POST begins. Attempts that had passed their gate before a freeze may follow it."""
        member = self.members.get(process)
        if member is None or member.role != "service":
            return
        age = self._clock() - self._renewed.get(process, self._clock())
        frozen = process.thawed_at > self._renewed.get(process, 0.0)
        if age > TRUSTED_PART * member.lease + (0.0 if frozen else CONNECT_TIMEOUT):
            self._stale[process] += 1
            if self._stale[process] > (member.concurrency if frozen else 0):
                self._break("lease", f"{process.name} posts {age:.1f} s after its lease was renewed")

    def on_answer(self, endpoint: str, request: Request, answer: str) -> None:
        self.moved_at = self._clock()
        if answer in REJECTIONS and len(request.cdrs) == 1:  # that of a batch says nothing of a CDR
            self.rejected.setdefault((endpoint, request.cdrs[0]), []).append(self._clock())
        for cdr in request.cdrs:
            self._is_posted_once(endpoint, cdr, request)

    def _is_posted_once(self, endpoint: str, cdr: bytes, request: Request) -> None:
        key = endpoint, cdr
        opened = self.open[key] = [other for other in self.open.get(key, []) if other.is_awaited]
        opened.append(request)
        pool, name = self.pool_of(endpoint), self.trace.name(cdr)
        if len(opened) > pool.arrived[cdr] - pool.delivered[cdr] and cdr not in self._excused:
            self._break("twice", f"{name} is posted to {endpoint} {len(opened)} times at once")
        own = sum(other.process is request.process for other in opened)
        if own > max(1, pool.arrived[cdr]) and cdr not in self._excused_alone:
            who = request.process.name if request.process else "?"
            self._break("twice", f"{who} alone posts {name} to {endpoint} {own} times at once")

    def on_closed(self, endpoint: str, request: Request) -> None:
        """It is answered now."""
        for cdr in request.cdrs:
            key = endpoint, cdr
            self.open[key] = [other for other in self.open.get(key, []) if other is not request]

    def on_delivered(self, endpoint: str, payload: bytes) -> None:
        pool = self.pool_of(endpoint)
        pool.delivered[payload] += 1
        self.accepted.setdefault(endpoint, []).append((self._clock(), payload))
        if pool.delivered[payload] > pool.arrived[payload] and payload not in self._excused:
            self._break("twice", f"{self.trace.name(payload)} was delivered to {endpoint} once more than it was pushed")

    # The end.

    def waiting(self) -> dict[str, Counter[bytes]]:
        """Return what is in Redis, but for dead letters."""
        found: dict[str, Counter[bytes]] = {}
        for key, value in self.engine.data.items():
            place = self.layout.place(key)
            if place is not None and place.kind != "dead":
                found.setdefault(str(place), Counter()).update(contents(place, value))
        return {name: counter for name, counter in found.items() if counter.total()}

    def lanes(self) -> list[str]:
        """Return the endpoints with lists of their own that hold anything, dead letters too."""
        places = (self.layout.place(key) for key, value in self.engine.data.items() if _elements(value))
        return sorted({place.pool for place in places if place is not None and place.pool})

    def dead(self) -> dict[str, Counter[bytes]]:
        found: dict[str, Counter[bytes]] = {}
        for key, value in self.engine.data.items():
            place = self.layout.place(key)
            if place is not None and place.kind == "dead":
                found[place.pool or ONLY] = contents(place, value)
        return found

    def _break(self, law: str, what: str) -> None:
        if self.broken is None:
            self.broken = LawBrokenError(law, what)
            self.trace.note(self._clock(), f"BROKEN {law}: {what}")
        raise self.broken


def contents(place: Place, value: Value | None) -> Counter[bytes]:
    return Counter(payload_of(place, element) for element in _elements(value))


def difference(place: Place, before: Value | None, after: Value | None) -> Counter[bytes]:
    """Return how many more there are of each payload."""
    old, new = _elements(before), _elements(after)
    if isinstance(old, list) and isinstance(new, list):
        old, new = _without_common_ends(old, new)
    delta: Counter[bytes] = Counter()
    for element in new:
        delta[element] += 1
    for element in old:
        delta[element] -= 1
    changed: Counter[bytes] = Counter()
    for element, number in delta.items():
        if number:
            changed[payload_of(place, element)] += number
    return Counter({payload: number for payload, number in changed.items() if number})


def _elements(value: Value | None) -> Iterable[bytes]:
    match value:
        case list():
            return value
        case SortedSet():
            return list(value.scores)
    return []


def _without_common_ends(old: list[Any], new: list[Any]) -> tuple[list[Any], list[Any]]:
    shorter = min(len(old), len(new))
    head = 0
    while head < shorter and old[head] is new[head]:
        head += 1
    tail = 0
    while tail < shorter - head and old[-1 - tail] is new[-1 - tail]:
        tail += 1
    return old[head : len(old) - tail], new[head : len(new) - tail]
