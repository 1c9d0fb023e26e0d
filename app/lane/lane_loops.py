"""Build the loops of one lane, and run them."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from app.config.endpoint import EndpointSettings
from app.config.settings import Settings
from app.config.timings import Timings
from app.delivery.attempt import Attempt
from app.delivery.batch_size import BatchSize
from app.delivery.certificate import Certificate
from app.delivery.gate import Gate
from app.delivery.outage import Outage, Refusals
from app.lane.adopter import Adopter
from app.lane.batch_or_single import inbox_of, maker_of_workers
from app.lane.batch_worker import BatchWorker
from app.lane.claimable import Claimable
from app.lane.claimer import Claimer
from app.lane.decision import Rules
from app.lane.in_flight import InFlight
from app.lane.incoming import Incoming
from app.lane.lane import Lane, visibility_of
from app.lane.outbox import Outbox
from app.lane.prober import Prober
from app.lane.room import Room
from app.lane.settler import Settler
from app.lane.sweeper import Sweeper
from app.lane.waiting_claim import WaitingClaim
from app.lane.worker import Worker
from app.store.budget import Budget
from app.store.client import Link
from app.store.clock import RedisClock
from app.store.keys import LaneKeys
from app.store.lease import Lease
from app.store.queue import Queue
from app.store.retry_set import Tokens
from app.telemetry.delivery_log import DeliveryLog
from app.telemetry.metrics import LaneMetrics


@dataclass(frozen=True)
class Endpoint:
    """Holds what a process knows of one endpoint, whichever slot it owns."""

    settings: EndpointSettings
    attempt: Attempt
    certificate: Certificate
    gate: Gate
    batch_size: BatchSize
    outage: Outage
    refusals: Refusals

    @property
    def name(self) -> str:
        return self.settings.name


@dataclass(frozen=True)
class Shared:
    """Holds what all lanes of a source have in common."""

    settings: Settings
    link: Link
    lease: Lease
    clock: RedisClock
    tokens: Tokens
    timings: Timings
    stopping: asyncio.Event
    delivery_log: DeliveryLog | None = None

    def queue(self, keys: LaneKeys, slot: int, oldest: str, longest: float = 0.0) -> Queue:
        """Return the keys of a lane, as the owner of a slot sees them.

        `longest`: seconds that a CDR may wait in a retry set, or be handed out.
        """
        horizon = 2 * max(self.timings.horizon, longest)
        return Queue(
            link=self.link,
            lease=self.lease,
            clock=self.clock,
            slot=keys.slot(slot),
            keys=keys,
            oldest=oldest,
            horizon=horizon,
        )


class LaneLoops:
    """Runs one lane in one slot: its loops, and what they share."""

    def __init__(  # noqa: PLR0913 - one lane stands between a source and an endpoint
        self, shared: Shared, endpoint: Endpoint, keys: LaneKeys, *, slot: int, oldest: str, metrics: LaneMetrics
    ) -> None:
        settings, timings = shared.settings, shared.timings
        self.endpoint = endpoint
        longest = max(endpoint.settings.backoff_max, visibility_of(endpoint.settings.timeout, timings))
        self.lane = lane = _lane(shared, endpoint, shared.queue(keys, slot, oldest, longest), metrics)
        incoming, budget = Incoming(), Budget(timings.exchange_bytes)
        self._sweeper = Sweeper(lane, incoming, settings.sweep_interval, budget)
        self._claimable = claimable = Claimable(lane, self._sweeper, budget)
        self.claimer = Claimer(lane, claimable, incoming, self._sweeper, budget)
        self._waiting = WaitingClaim(lane, claimable, incoming, self._sweeper)
        worker = _maker_of_workers(shared, endpoint, lane, self._sweeper)
        self._workers = [worker() for _ in range(endpoint.settings.concurrency)]
        self.prober = Prober(lane, worker().deliver, self._sweeper, incoming)
        self._adopter = Adopter(
            link=shared.link,
            lease=shared.lease,
            queue=lane.queue,
            keys=keys,
            incoming=incoming,
            may_adopt=lambda: not self._sweeper.is_due,
            on_adopted=self._on_adopted,
            stopping=shared.stopping,
        )
        lane.wake = self.claimer.wake

    async def run(self) -> None:
        """Forward CDRs until a stop is asked for and none is in flight."""
        gate, lease = self.lane.gate, self.lane.lease
        gate.join(self.lane.turn, self.prober)
        gate.listen(self._wake)
        lease.listen(self._wake)
        try:
            async with asyncio.TaskGroup() as tasks:
                for run in self._runs:
                    tasks.create_task(run())
        finally:
            gate.leave(self.lane.turn, self.prober)
            gate.forget(self._wake)
            lease.forget(self._wake)

    @property
    def _runs(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        workers = [worker.run for worker in self._workers]
        recovering = [self._sweeper.run, self._adopter.run]
        return [self.claimer.run, self._waiting.run, self.prober.run, *recovering, *workers, self._wake_at_stop]

    def _on_adopted(self, number: int) -> None:
        self._sweeper.from_others += number
        self._sweeper.soon()

    async def _wake_at_stop(self) -> None:
        await self.lane.stopping.wait()
        self._wake()

    def _wake(self) -> None:
        self.claimer.wake()
        self.lane.inbox.wake()
        self._sweeper.wake()
        self.prober.wake()
        self._claimable.changed.set()


def _maker_of_workers(
    shared: Shared, endpoint: Endpoint, lane: Lane, sweeper: Sweeper
) -> Callable[[], Worker | BatchWorker]:
    settings = endpoint.settings
    rules = Rules(settings.backoff, settings.backoff_max, shared.settings.give_up_after, shared.timings)
    settler = Settler(
        lane=lane,
        rules=rules,
        tokens=shared.tokens,
        outage=endpoint.outage,
        refusals=endpoint.refusals,
        sweeper=sweeper,
        log=shared.delivery_log,
    )
    return maker_of_workers(
        lane=lane,
        attempt=endpoint.attempt,
        rules=rules,
        outage=endpoint.outage,
        size=endpoint.batch_size,
        settler=settler,
    )


def _lane(shared: Shared, endpoint: Endpoint, queue: Queue, metrics: LaneMetrics) -> Lane:
    settings = endpoint.settings
    return Lane(
        endpoint=endpoint.name,
        timeout=endpoint.settings.timeout,
        queue=queue,
        lease=shared.lease,
        clock=shared.clock,
        gate=endpoint.gate,
        inbox=inbox_of(settings, endpoint.batch_size, queue.keys.source),
        in_flight=InFlight(),
        room=Room(settings.concurrency * settings.batch_size, shared.timings),
        outbox=Outbox(shared.timings),
        metrics=metrics,
        timings=shared.timings,
        stopping=shared.stopping,
    )
