"""Act on verdicts: tell the gate, count, and send each CDR on its way."""

import time
from functools import partial
from typing import assert_never

from app.cdr import Cdr
from app.dead_letters.letter import dead_letter
from app.delivery.outage import Outage, Refusals
from app.delivery.verdict import Kind, Verdict
from app.lane import settlements
from app.lane.decision import Decision, Rules
from app.lane.lane import Lane
from app.lane.outbox import Parcel, Receipt
from app.lane.sweeper import Sweeper
from app.store.retry_set import Tokens
from app.telemetry import events
from app.telemetry.delivery_log import DeliveryLog, Outcome


class Settler:
    """Settles CDRs without ever waiting: what it decides travels with the next exchange."""

    def __init__(  # noqa: PLR0913 - whom it tells what
        self,
        *,
        lane: Lane,
        rules: Rules,
        tokens: Tokens,
        outage: Outage,
        refusals: Refusals,
        sweeper: Sweeper,
        log: DeliveryLog | None = None,
    ) -> None:
        self._source = lane.source
        self._tell_of_delivered = events.teller_of_delivered(lane.source, lane.endpoint)
        self._lane, self._rules, self._tokens = lane, rules, tokens
        self._outage, self._refusals, self._sweeper, self._log = outage, refusals, sweeper, log

    def settle(self, cdr: Cdr, verdict: Verdict, began: float, began_ms: int) -> None:
        """Settle a CDR after an attempt that began at `began` (monotonic), `began_ms` by Redis' clock."""
        lane = self._lane
        lane.metrics.attempted(verdict.result, time.monotonic() - began, verdict.status)
        strike = verdict.may_strike and lane.turn.is_strike(cdr)
        decision = self._rules.decide(cdr, verdict, lane.clock.now(), strike=strike)
        if verdict.kind is Kind.DELIVERED:
            lane.turn.record_success(cdr, began_ms)
            lane.metrics.were_delivered(1)
            self._outage.end()
        else:
            if verdict.hold and not strike and not lane.gate.held_for:
                events.endpoint_held(lane.endpoint, verdict.hold)
            lane.gate.record_failure(cdr, began, verdict, strike=strike)
            self._outage.note(verdict, down=not lane.gate.breaker.is_closed)
            events.attempt_failed(
                self._source, lane.endpoint, cdr.webhook_id, decision.history.attempts, verdict.result, verdict.status
            )
        lane.outbox.put(self.parcel(cdr, verdict, decision))
        if lane.outbox.is_worth_waking(lane.timings.worth_a_round_trip):
            lane.wake()

    def parcel(self, cdr: Cdr, verdict: Verdict, decision: Decision) -> Parcel:
        """Return a CDR with its way through Redis, and what follows once it is settled there."""
        match decision.action:
            case "ack":
                return Parcel(cdr, settlements.ack(cdr), self.receipt_of(verdict))
            case "defer":
                way = settlements.defer(cdr, decision.history, decision.delay, self._tokens)
                return Parcel(cdr, way, partial(self._deferred, verdict=verdict, decision=decision))
            case "dead_letter":
                way = settlements.dead_letter(cdr, self._letter(cdr, verdict, decision))
                return Parcel(cdr, way, partial(self._buried, verdict=verdict, decision=decision))
            case _:
                assert_never(decision.action)

    def receipt_of(self, verdict: Verdict) -> Receipt:
        """Return what follows once a CDR is acked."""
        return partial(self._acked_and_logged, verdict=verdict) if self._log else self._acked

    def _letter(self, cdr: Cdr, verdict: Verdict, decision: Decision) -> bytes:
        lane, reason = self._lane, decision.reason
        return dead_letter(
            cdr=cdr,
            endpoint=lane.endpoint,
            source=self._source,
            reason=reason,
            status=verdict.status,
            answer=verdict.answer,
            history=decision.history,
        )

    def _acked(self, cdr: Cdr, found: bool) -> None:  # noqa: FBT001 - a receipt has one thing to say
        self._lane.metrics.delivery_durations.observe(time.monotonic() - cdr.claimed_at)
        self._tell_of_delivered(cdr.webhook_id, cdr.history.attempts + 1)
        if not found:
            self._was_gone()

    def _acked_and_logged(self, cdr: Cdr, found: bool, *, verdict: Verdict) -> None:  # noqa: FBT001
        self._acked(cdr, found)
        self._note(cdr, "delivered", verdict, cdr.history.attempts + 1)

    def _deferred(self, cdr: Cdr, found: bool, *, verdict: Verdict, decision: Decision) -> None:  # noqa: FBT001
        if not found:
            # Neither counted nor logged: this attempt delivered nothing, and whoever took the CDR out goes on with it.
            return self._sweeper.soon()
        self._lane.metrics.deferred += 1
        events.cdr_deferred(
            self._source, self._lane.endpoint, cdr.webhook_id, decision.history.attempts, decision.delay
        )
        if verdict.kind is Kind.REJECTED and not cdr.history.first_rejected_at:
            self._refusals.rejected(verdict)
        return None

    def _buried(self, cdr: Cdr, found: bool, *, verdict: Verdict, decision: Decision) -> None:  # noqa: FBT001
        if not found:
            return self._was_gone()
        attempts, reason = decision.history.attempts, decision.reason
        self._lane.metrics.dead_lettered[reason] += 1
        events.cdr_dead_lettered(self._source, self._lane.endpoint, cdr.webhook_id, reason, verdict.status, attempts)
        self._refusals.dead_lettered(reason, verdict)
        self._note(cdr, reason, verdict, attempts)
        return None

    def _note(self, cdr: Cdr, outcome: Outcome, verdict: Verdict, attempts: int) -> None:
        """Write its line into the delivery log, if there is one: Redis has settled it."""
        if self._log:
            self._log.note(
                cdr,
                source=self._source,
                endpoint=self._lane.endpoint,
                outcome=outcome,
                status=verdict.status,
                result=verdict.result,
                attempts=attempts,
            )

    def _was_gone(self) -> None:
        """Say that Redis had nothing to take out: another process may have settled it. Sweep to be sure."""
        events.ack_found_nothing(self._source, self._lane.endpoint, 1)
        self._lane.metrics.acks_lost += 1
        self._sweeper.soon()
