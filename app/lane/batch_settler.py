"""Act on the verdict of a batch: one for all its CDRs."""

import time
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus

from app.cdr import Cdr
from app.delivery.batch_size import BatchSize
from app.delivery.message import Message
from app.delivery.outage import Outage
from app.delivery.verdict import Kind, Verdict
from app.lane import settlements
from app.lane.decision import Rules
from app.lane.lane import Lane
from app.lane.outbox import Parcel
from app.lane.settler import Settler
from app.telemetry import events


class BatchSettler:
    """Settles batches. A batch of one is left to `Settler`, which also makes the parcels of larger ones."""

    def __init__(self, *, lane: Lane, rules: Rules, outage: Outage, size: BatchSize, settler: Settler) -> None:
        self._lane, self._rules, self._outage = lane, rules, outage
        self._size, self._settler = size, settler

    def settle(self, cdrs: Sequence[Cdr], message: Message, verdict: Verdict, began: float, began_ms: int) -> None:
        """Settle all CDRs of an attempt that began at `began` (monotonic), `began_ms` by Redis' clock."""
        if len(cdrs) == 1:
            return self._settler.settle(cdrs[0], verdict, began, began_ms)
        self._lane.metrics.attempted(verdict.result, time.monotonic() - began, verdict.status)
        if verdict.kind is Kind.DELIVERED:
            self._delivered(cdrs, verdict, began_ms)
        else:
            self._failed(cdrs, message, verdict, began)
        self._lane.wake()
        return None

    def _delivered(self, cdrs: Sequence[Cdr], verdict: Verdict, began_ms: int) -> None:
        lane, done = self._lane, self._settler.receipt_of(verdict)
        for cdr in (cdrs[0], cdrs[-1]):  # two of them are enough to tell of each CDR that another was accepted
            lane.turn.record_success(cdr, began_ms)
        for cdr in cdrs:
            lane.outbox.put(Parcel(cdr, settlements.ack(cdr), done))
        lane.metrics.were_delivered(len(cdrs))
        self._outage.end()

    def _failed(self, cdrs: Sequence[Cdr], message: Message, verdict: Verdict, began: float) -> None:
        """Defer them all: it may be the fault of one, so it is neither a rejection nor a strike of any."""
        lane = self._lane
        if verdict.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            self._size.too_large(len(message.body))
        if verdict.hold and not lane.gate.held_for:
            events.endpoint_held(lane.endpoint, verdict.hold)
        if verdict.kind is not Kind.REJECTED and verdict.status != HTTPStatus.INTERNAL_SERVER_ERROR:
            # It counts once, and replayed ones not at all.
            counted = next((cdr for cdr in cdrs if not cdr.history.replayed), cdrs[0])
            lane.gate.record_failure(counted, began, verdict, strike=False)
        self._outage.note(verdict, down=not lane.gate.breaker.is_closed)
        events.attempt_failed(
            lane.source, lane.endpoint, message.webhook_id, message.attempt, verdict.result, verdict.status
        )
        failed = replace(verdict, kind=Kind.TRANSIENT)
        decisions = self._rules.defer_together(cdrs, failed, lane.clock.now())
        for cdr, decision in zip(cdrs, decisions, strict=True):
            lane.outbox.put(self._settler.parcel(cdr, failed, decision))
