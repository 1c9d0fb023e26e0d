"""How a CDR is handled, and what its outcome leads to."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from app.cdr import Cdr
from app.dead_letters.letter import Reason, dead_letter
from app.delivery.breaker import Breaker
from app.delivery.delivery import Delivery, Outcome
from app.delivery.verdict import Verdict
from app.lane.in_flight import InFlight
from app.lane.intake import Intake
from app.lane.parking import Parking, now
from app.store.queue import Queue
from app.telemetry import events
from app.telemetry.metrics import LaneMetrics


@dataclass(eq=False)
class Lane:
    """One endpoint's way: pending list → processing list → POST → ack."""

    endpoint: str
    in_flight: InFlight
    intake: Intake
    delivery: Delivery
    breaker: Breaker
    queue: Queue
    parking: Parking
    metrics: LaneMetrics
    stopping: asyncio.Event

    def __post_init__(self) -> None:
        self._last_delivery_at: datetime | None = None
        self._rejected: list[tuple[Cdr, bytes]] = []
        self.outage = events.endpoint_outage(self.endpoint)

    def takes(self) -> bool:
        """Tell whether CDRs are of use to it just now."""
        return not (self.breaker.is_open or self.intake.held)

    async def run(self) -> None:
        """Handle CDRs until a stop is asked for and none is in flight."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._notice_stop())
            while not (self.stopping.is_set() and self.intake.idle and not self.in_flight.number):
                for cdr in await self.intake.next(tasks):
                    tasks.create_task(self.handle(cdr))

    async def handle(self, cdr: Cdr) -> None:
        outcome, verdict = await self.delivery.deliver(cdr)
        await self.settle(cdr, outcome, verdict)
        if self.breaker.is_open:
            await self._take_back()

    async def settle(self, cdr: Cdr, outcome: Outcome, verdict: Verdict) -> None:
        """Act on the outcome: the only place that decides ack, dead letter or park."""
        match outcome:
            case Outcome.DELIVERED:
                await self._ack(cdr)
            case Outcome.LEFT:
                self.intake.left(cdr)
            case Outcome.REJECTED:
                await self._bury(cdr, "rejected", verdict)
            case Outcome.EXHAUSTED if self.parking.gives_up(cdr.failing, self._last_delivery_at):
                await self._bury(cdr, "gave_up", verdict)
            case Outcome.EXHAUSTED:
                await self._park(cdr, verdict)

    async def _ack(self, cdr: Cdr) -> None:
        events.cdr_delivered(self.endpoint, cdr.webhook_id, cdr.attempts)
        self._last_delivery_at = now()
        self.metrics.was_delivered()
        self._rejected.clear()
        self.intake.ack(cdr)
        if self.outage.lasts:
            self.intake.look_again()
            self.outage.end(waiting=await self.queue.waiting())

    async def _bury(self, cdr: Cdr, reason: Reason, verdict: Verdict) -> None:
        letter = dead_letter(cdr, self.endpoint, reason, verdict.status)
        side = self.intake.side_of(cdr)
        if await self.queue.bury(cdr.body, side, cdr.webhook_id, letter) is False:
            events.ack_found_nothing(self.endpoint, 1)
            self.metrics.acks_lost += 1
        else:
            self.metrics.dead_lettered[reason] += 1
            events.cdr_dead_lettered(self.endpoint, cdr.webhook_id, reason, verdict.status, cdr.attempts)
            self._remember(cdr, letter)
        self.intake.buried(cdr, side)

    def _remember(self, cdr: Cdr, letter: bytes) -> None:
        """What is rejected in a row may yet turn out to be the receiver's fault."""
        if cdr.failing is None:
            self._rejected.append((cdr, letter))

    async def _take_back(self) -> None:
        """Undo the dead letters that a wrong secret or a bad deploy of the receiver has made of good CDRs."""
        rejected, self._rejected = self._rejected, []
        for cdr, letter in rejected:
            failing = self.parking.park(cdr.failing, cdr.attempts, 0.0)
            await self.queue.take_back(letter, cdr.body, cdr.webhook_id, failing)
        if rejected:
            events.dead_letters_taken_back(self.endpoint, len(rejected))

    async def _park(self, cdr: Cdr, verdict: Verdict) -> None:
        if verdict.hold:
            self.intake.hold(verdict.hold)
        cut_short = self.stopping.is_set() or (self.breaker.is_open and cdr.failing is None)
        wait = 0.0 if cut_short else verdict.hold
        failing = self.parking.park(cdr.failing, cdr.attempts, wait)
        await self.queue.park(cdr.body, self.intake.side_of(cdr), cdr.webhook_id, failing)
        events.cdr_parked(self.endpoint, cdr.webhook_id, cdr.attempts, failing.next_try.isoformat())
        if self.breaker.is_open or self.breaker.is_since_taken(cdr.claimed_at):
            self.outage.begin(f"{verdict.result} {verdict.status or ''}".strip())
        self.intake.left(cdr)

    async def _notice_stop(self) -> None:
        await self.stopping.wait()
        self.intake.wake()
