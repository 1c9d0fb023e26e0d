"""How a CDR is handled, and what its outcome leads to."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from app import events
from app.cdr import Cdr
from app.dead_letters import Reason, dead_letter
from app.delivery import Delivery, Outcome
from app.in_flight import InFlight
from app.intake import Intake
from app.parking import Parking, now
from app.queue import Queue
from app.verdict import Verdict


@dataclass(eq=False)
class Lane:
    """One endpoint's way: pending list → processing list → POST → ack."""

    endpoint: str
    in_flight: InFlight
    intake: Intake
    delivery: Delivery
    queue: Queue
    parking: Parking
    stopping: asyncio.Event

    def __post_init__(self) -> None:
        self._last_delivery_at: datetime | None = None
        self._outage = events.endpoint_outage(self.endpoint)

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

    async def settle(self, cdr: Cdr, outcome: Outcome, verdict: Verdict) -> None:
        """Act on the outcome: the only place that decides ack, dead letter or park."""
        match outcome:
            case Outcome.DELIVERED:
                self._ack(cdr)
            case Outcome.REJECTED:
                await self._bury(cdr, "rejected", verdict)
            case Outcome.EXHAUSTED if self.parking.gives_up(cdr.failing, self._last_delivery_at):
                await self._bury(cdr, "gave_up", verdict)
            case Outcome.EXHAUSTED:
                await self._park(cdr, verdict)

    def _ack(self, cdr: Cdr) -> None:
        events.cdr_delivered(self.endpoint, cdr.webhook_id, cdr.attempts)
        self._last_delivery_at = now()
        self._outage.end()
        self.intake.ack(cdr)

    async def _bury(self, cdr: Cdr, reason: Reason, verdict: Verdict) -> None:
        letter = dead_letter(cdr, self.endpoint, reason, verdict.status)
        side = self.intake.side_of(cdr)
        if await self.queue.bury(cdr.body, side, cdr.webhook_id, letter) is False:
            events.ack_found_nothing(self.endpoint, 1)
        else:
            events.cdr_dead_lettered(self.endpoint, cdr.webhook_id, reason, verdict.status, cdr.attempts)
        self.intake.buried(cdr, side)

    async def _park(self, cdr: Cdr, verdict: Verdict) -> None:
        if verdict.hold:
            self.intake.hold(verdict.hold)
        wait = 0.0 if self.stopping.is_set() else verdict.hold
        failing = self.parking.park(cdr.failing, cdr.attempts, wait)
        await self.queue.park(cdr.body, self.intake.side_of(cdr), cdr.webhook_id, failing)
        events.cdr_parked(self.endpoint, cdr.webhook_id, cdr.attempts, failing.next_try.isoformat())
        self._outage.begin(f"{verdict.result} {verdict.status or ''}".strip())
        self.intake.parked(cdr)

    async def _notice_stop(self) -> None:
        await self.stopping.wait()
        self.intake.wake()
