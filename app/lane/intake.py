"""Whether a lane claims, sweeps or adopts, and how much at a time."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from app.cdr import Cdr
from app.delivery.breaker import Breaker
from app.errors import OperatorRedisError, OutOfMemoryError, TransientRedisError
from app.lane.adoption import Adoption
from app.lane.in_flight import MOST_BYTES, InFlight
from app.lane.parking import FailingRecord, now
from app.lane.sweep import Sweep
from app.store.client import OPERATOR_PAUSE
from app.store.lease import Ownership
from app.store.queue import EXCHANGES, HEAD, TAIL, Ack, Queue, Side
from app.telemetry import events
from app.telemetry.metrics import LaneMetrics

PAGE: Final = 64
LONGEST_WAIT: Final = 1.0
PAUSE: Final = 0.5
RIPENING: Final = 0.005
"""Seconds between two exchanges that are less than a batch."""


@dataclass(eq=False)
class Intake:
    """Fills the free slots of one lane with CDRs, and acks those that left them.

    It claims or it sweeps, and never does both. So a sweep may take whatever is in processing and not in
    flight for lost or parked, without a lock, a timestamp or a guess at ages.
    """

    endpoint: str
    in_flight: InFlight
    queue: Queue
    ownership: Ownership
    adoption: Adoption
    sweep: Sweep
    breaker: Breaker
    metrics: LaneMetrics
    stopping: asyncio.Event

    def __post_init__(self) -> None:
        self._delivered: list[Cdr] = []
        self._exchanged_at = 0.0
        self._found: list[Cdr] = []
        self._exchanges = 0
        self._waits = False
        self._sweeps = False
        self._sweep_is_next = True
        self._pending_is_empty = False
        self._parked_is_next = True
        self.held_until = 0.0
        self._batch = max(1, self.in_flight.slots // 4)
        self._adopted = 0
        self.stamped_at = time.monotonic()
        self._changed = asyncio.Event()

    def ack(self, cdr: Cdr) -> None:
        """Remove it from processing, together with others; its slot is free when that is done."""
        self._delivered.append(cdr)
        self._changed.set()

    def side_of(self, cdr: Cdr) -> Side:
        """Return the near end; and where a pass has seen a copy, the end at which that copy is the first."""
        return HEAD if cdr.recovered or self.sweep.has_passed(cdr.body) else TAIL

    def buried(self, cdr: Cdr, side: Side) -> None:
        self.in_flight.remove(cdr)
        if side == self.side_of(cdr):
            self.sweep.removed(cdr.body)
        else:
            self.sweep.again()  # a page was read meanwhile: which of two twins has gone is not known
        self._changed.set()

    def left(self, cdr: Cdr) -> None:
        """Leave it in processing, for a sweep to find: parked, or as it came."""
        self.in_flight.remove(cdr)
        self._changed.set()

    def hold(self, seconds: float) -> None:
        """Claim and sweep nothing for so long, and then look at what was parked meanwhile."""
        if not self.held:
            events.lane_held(self.endpoint, seconds)
        self.held_until = max(self.held_until, time.monotonic() + seconds)
        self.sweep.soon(seconds)

    def look_again(self) -> None:
        """Sweep at once: what was parked while the endpoint was down is due."""
        self.sweep.soon()
        self._changed.set()

    def wake(self) -> None:
        self._changed.set()

    async def next(self, tasks: asyncio.TaskGroup) -> list[Cdr]:
        """Start what is due, wait until something happens, and return the CDRs that it brought, if any."""
        self.stamped_at = time.monotonic()
        while (step := self._due_step()) is not None:
            tasks.create_task(step)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._until_due()):
                await self._changed.wait()
        self._changed.clear()
        if self.held and not self.stopping.is_set():
            return []  # a claim that was waiting when the hold began may have brought one
        found, self._found = self._found, []
        return found

    @property
    def idle(self) -> bool:
        """Nothing is on its way to us, and nothing waits for its ack."""
        return not (self._delivered or self._found or self._exchanges or self._waits or self._sweeps)

    def _due_step(self) -> Coroutine[None, None, None] | None:
        """Return the one thing to start now, if any."""
        if self._sweeps:
            return None
        if self._exchanges < EXCHANGES and self._exchange_pays():
            return self._begin_exchange()
        return self._due_intake() if self._takes else None

    def _due_intake(self) -> Coroutine[None, None, None] | None:
        if self.breaker.is_open:
            return self._begin_probe() if self.breaker.probe_is_due else None
        if self.adoption.due:
            return self._begin_adoption()
        if not self.sweep.due:
            idle = self._pending_is_empty and not self._waits and self.in_flight.free > 0
            return self._begin_wait() if idle else None
        roomy = self.in_flight.free >= self._batch
        return self._begin_sweep_page() if self._sweep_is_next and roomy else None

    @property
    def _takes(self) -> bool:
        return not self.stopping.is_set() and self.ownership.holds() and not self.held

    @property
    def held(self) -> bool:
        return time.monotonic() < self.held_until

    def _room(self) -> int:
        """Slots that an exchange could fill, with those that its acks set free."""
        sweeps_first = self.sweep.due and self._sweep_is_next
        claims = self._takes and not sweeps_first and not self.breaker.is_open
        return self.in_flight.free + len(self._delivered) if claims else 0

    def _ready(self) -> int:
        """What an exchange could do now: acks, or claims that may bring something."""
        claimable = self._room() if self.sweep.due or not self._pending_is_empty else 0
        return max(len(self._delivered), claimable)

    def _exchange_pays(self) -> bool:
        """A batch is worth a round trip, and a part of one is when the last is some time ago."""
        ready = self._ready()
        return ready >= self._batch or (ready > 0 and time.monotonic() - self._exchanged_at >= RIPENING)

    def _until_due(self) -> float:
        if self._ready():
            return RIPENING
        current = time.monotonic()
        ahead = (
            *(self.sweep.due_at, self.adoption.due_at, self.held_until),
            *(self.breaker.probe_at, current + LONGEST_WAIT),
        )
        return min(due for due in ahead if due > current) - current

    def _begin_exchange(self) -> Coroutine[None, None, None]:
        claims = self._room()
        acks, self._delivered = self._delivered, []
        self._sweep_is_next = self._sweep_is_next or claims > 0
        self._exchanges += 1
        self._exchanged_at = time.monotonic()
        reserved = max(0, claims - len(acks))
        self.in_flight.reserve(reserved)
        return self._exchange(acks, claims, reserved)

    async def _exchange(self, acks: list[Cdr], claims: int, reserved: int) -> None:
        most_bytes = max(1, self.in_flight.free_bytes // EXCHANGES)
        done = await self.queue.exchange([self._as_ack(cdr) for cdr in acks], claims, most_bytes)
        self._exchanges -= 1
        self.in_flight.release(reserved)
        ended_at = time.monotonic()
        for cdr in acks:
            self.in_flight.remove(cdr)
            self.sweep.removed(cdr.body)
            self.metrics.delivery_durations.observe(ended_at - cdr.claimed_at)
        if done is None:
            self._claim_reply_lost()
        else:
            self._acked(len(acks) - done.acked)
            if claims:
                read = sum(map(len, done.claimed))
                self._pending_is_empty = len(done.claimed) < claims and read < most_bytes
            self._deliver_new(done.claimed)
        self._changed.set()

    def _as_ack(self, cdr: Cdr) -> Ack:
        return Ack(cdr.body, self.side_of(cdr), cdr.webhook_id if cdr.failing else "")

    def _acked(self, missing: int) -> None:
        if missing:
            events.ack_found_nothing(self.endpoint, missing)
            self.metrics.acks_lost += missing
            self.sweep.again()

    def _claim_reply_lost(self) -> None:
        events.claim_reply_lost(self.endpoint)
        self.sweep.again()

    def _deliver_new(self, bodies: Sequence[bytes]) -> None:
        self.metrics.claimed += len(bodies)
        self._deliver(map(Cdr, bodies))

    def _deliver(self, cdrs: Iterable[Cdr]) -> None:
        for cdr in cdrs:
            self.in_flight.add(cdr)
            self._found.append(cdr)

    def _begin_wait(self) -> Coroutine[None, None, None]:
        self._waits = True
        self.in_flight.reserve(1)
        return self._wait()

    async def _wait(self) -> None:
        body, pause = None, 0.0
        try:
            body = await self.queue.wait()
        except OutOfMemoryError:
            # Refused to the command, and not to a script, which is what takes over.
            self._pending_is_empty, pause = False, PAUSE
        except TransientRedisError as error:
            pause = PAUSE
            if error.away:
                self._claim_reply_lost()
        except OperatorRedisError:
            pause = OPERATOR_PAUSE
        self.in_flight.release(1)
        if body is not None:
            self._pending_is_empty = False
            self._deliver_new([body])
            self._changed.set()
        if pause:
            await self._pause(random.uniform(pause / 2, pause))  # noqa: S311 - jitter, not a secret
        self._waits = False
        self._changed.set()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    def _begin_sweep_page(self) -> Coroutine[None, None, None]:
        self._sweeps = True
        self._sweep_is_next = False
        return self._sweep_page()

    async def _sweep_page(self) -> None:
        sweep, in_flight = self.sweep, self.in_flight
        async with self.queue.still():
            most = max(1, min(PAGE, in_flight.free))  # a claim may have filled the last slot since
            page = await self.queue.page(sweep.cursor, most, in_flight.free_bytes)
            strays = [Cdr(body, recovered=True) for body in page if sweep.step(body) > in_flight.copies(body)]
            records = await self.queue.failing([cdr.webhook_id for cdr in strays])
            for cdr, record in zip(strays, records, strict=True):
                if self._is_lost_or_due(cdr, record):
                    sweep.found += 1
                    self._deliver([cdr])
        if not page and (found := sweep.end()):
            events.sweep_recovered(self.endpoint, found)
        self._sweeps = False
        self._changed.set()

    def _is_lost_or_due(self, cdr: Cdr, record: FailingRecord | None) -> bool:
        """Tell the lost and the due from the parked; those that failed before leave room for new ones."""
        if record is None:
            self._count_recovered()
            return True
        if record.next_try > now():
            return False
        if self.in_flight.retried >= self._batch and not self._pending_is_empty:
            self.sweep.soon(LONGEST_WAIT)
            return False
        cdr.failing, cdr.attempts = record, record.attempts
        return True

    def _count_recovered(self) -> None:
        """What was adopted, and counted then, is found by the sweeps that follow."""
        if self._adopted:
            self._adopted -= 1
        else:
            self.metrics.recovered["own"] += 1

    def _begin_probe(self) -> Coroutine[None, None, None]:
        self._sweeps = True
        self._parked_is_next = not self._parked_is_next
        return self._probe([self._new, self._stray] if self._parked_is_next else [self._stray, self._new])

    async def _probe(self, sources: Iterable[Callable[[], Awaitable[Cdr | None]]]) -> None:
        """Take the one CDR that an open breaker lets through: in turn one from processing, and a new one."""
        cdr = None
        for source in sources:
            cdr = cdr or await source()
        self.breaker.probe_with(cdr)
        self._deliver([cdr] if cdr else [])
        self._sweeps = False
        self._changed.set()

    async def _stray(self) -> Cdr | None:
        """Return one CDR that is in processing and not in flight, whether it is due or not."""
        async with self.queue.still():
            seen: Counter[bytes] = Counter()
            for body in await self.queue.page(0, PAGE, MOST_BYTES):
                seen[body] += 1
                if seen[body] > self.in_flight.copies(body):
                    cdr = Cdr(body, recovered=True)
                    [cdr.failing] = await self.queue.failing([cdr.webhook_id])
                    cdr.attempts = cdr.failing.attempts if cdr.failing else 0
                    return cdr
        return None

    async def _new(self) -> Cdr | None:
        """Claim one."""
        done = await self.queue.exchange([], 1, MOST_BYTES)
        if done is None:
            self._claim_reply_lost()
        self.metrics.claimed += len(done.claimed) if done else 0
        return Cdr(done.claimed[0]) if done and done.claimed else None

    def _begin_adoption(self) -> Coroutine[None, None, None]:
        self._sweeps = True
        return self._adopt()

    async def _adopt(self) -> None:
        if adopted := await self.adoption.look():
            self._adopted += adopted
            self.metrics.recovered["orphan"] += adopted
            self.sweep.soon()
        self._sweeps = False
        self._changed.set()
