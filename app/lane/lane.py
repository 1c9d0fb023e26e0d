"""Hold what the loops of one lane share."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from app.cdr import Cdr, Origin
from app.config.timings import Timings
from app.delivery.gate import Gate
from app.delivery.turn import Turn
from app.lane.in_flight import InFlight
from app.lane.inbox import Inbox
from app.lane.outbox import Outbox
from app.lane.room import Room
from app.store.clock import RedisClock
from app.store.lease import Lease
from app.store.queue import Queue
from app.store.retry_set import read_member
from app.telemetry.metrics import LaneMetrics


@dataclass(eq=False)
class Lane:
    """Leads from one source to one endpoint: pending → processing → POST → ack.

    `timeout`: seconds that an attempt may last. `wake` tells the claimer that something has changed.
    """

    endpoint: str
    timeout: float
    queue: Queue
    lease: Lease
    clock: RedisClock
    gate: Gate
    inbox: Inbox
    in_flight: InFlight
    room: Room
    outbox: Outbox
    metrics: LaneMetrics
    timings: Timings
    stopping: asyncio.Event
    wake: Callable[[], None] = field(default=lambda: None)

    def __post_init__(self) -> None:
        self.turn = Turn(self.gate, self.clock.now, self._wants, self.inbox.wake_one)

    @property
    def source(self) -> str:
        return self.queue.keys.source

    @property
    def visibility(self) -> float:
        """Return the seconds for which a CDR that the retry set hands out is nobody else's."""
        return visibility_of(self.timeout, self.timings)

    @property
    def is_shut(self) -> bool:
        """Tell whether nothing but probes may be attempted."""
        return not self.gate.is_passing

    @property
    def claims(self) -> bool:
        """Tell whether CDRs may be claimed now."""
        return self.gate.is_passing and self.lease.holds() and not self.stopping.is_set()

    @property
    def gives_back(self) -> bool:
        """Tell whether what waits in the inbox is better off in Redis."""
        return self.stopping.is_set() or self.gate.holds_for_long

    def _wants(self) -> bool:
        """Tell whether a worker could attempt something, if the gate let it pass."""
        return self.inbox.is_ready and self.lease.holds() and not self.stopping.is_set()

    def new(self, bodies: Iterable[bytes]) -> list[Cdr]:
        """Take note of CDRs that were claimed from pending."""
        return self._hold([Cdr(body) for body in bodies])

    def strays(self, bodies: Iterable[bytes]) -> list[Cdr]:
        """Take note of CDRs that a sweep has found in our processing list."""
        return self._hold([Cdr(body, Origin.STRAY) for body in bodies])

    def handed_out(self, members: Iterable[bytes], visible_until: float) -> list[Cdr]:
        """Take note of what the retry set has handed out, but for what is in hand already."""
        fresh = [member for member in members if not self.in_flight.has_member(member)]
        cdrs = []
        for member in fresh:
            history, body = read_member(member)
            cdrs.append(Cdr(body, Origin.RETRY, history, member, visible_until))
        return self._hold(cdrs)

    def forget(self, cdr: Cdr) -> None:
        """Leave it where it is in Redis, for a sweep to find, or until its visibility ends."""
        self.in_flight.remove(cdr)

    def _hold(self, cdrs: list[Cdr]) -> list[Cdr]:
        for cdr in cdrs:
            self.in_flight.add(cdr)
        return cdrs


def visibility_of(timeout: float, timings: Timings) -> float:
    """Return for how many seconds a CDR is handed out whose attempt may last `timeout`."""
    return 2 * timeout + timings.visibility
