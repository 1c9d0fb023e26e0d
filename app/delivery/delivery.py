"""How often and how long an endpoint is tried, and what came of it."""

import asyncio
import time
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any, Final

from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_random_exponential

from app.cdr import Cdr
from app.config.endpoint import EndpointSettings
from app.delivery.breaker import Breaker
from app.delivery.endpoint import Endpoint
from app.delivery.verdict import Kind, Verdict
from app.telemetry import events
from app.telemetry.metrics import LaneMetrics


class Outcome(StrEnum):
    """What came of a delivery.

    REJECTED: the endpoint will never take this CDR; EXHAUSTED: not now; LEFT: there was no attempt.
    """

    DELIVERED = "delivered"
    REJECTED = "rejected"
    EXHAUSTED = "exhausted"
    LEFT = "left"


OUTCOMES: Final = {
    Kind.DELIVERED: Outcome.DELIVERED,
    Kind.REJECTED: Outcome.REJECTED,
    Kind.TRANSIENT: Outcome.EXHAUSTED,
    Kind.UNTRIED: Outcome.LEFT,
}


class Delivery:
    """The attempts of one lane."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: EndpointSettings,
        breaker: Breaker,
        metrics: LaneMetrics,
        stopping: asyncio.Event,
    ) -> None:
        self._endpoint = endpoint
        self._breaker = breaker
        self._metrics = metrics
        self._stopping = stopping
        self._limiter = _limiter(settings.rate_limit)
        enough = stop_after_attempt(settings.attempts)
        self._retrying: AsyncRetrying = AsyncRetrying(
            stop=lambda state: self._hurries or enough(state),
            wait=wait_random_exponential(multiplier=settings.backoff, max=settings.backoff_max),
            retry=retry_if_result(_another_may_help),
            sleep=self._pause,
            retry_error_callback=_last_verdict,
        )

    async def deliver(self, cdr: Cdr) -> tuple[Outcome, Verdict]:
        """Try until there is an outcome; a CDR that failed before gets one attempt."""
        is_probe = self._breaker.is_open
        verdict = await self._attempt(cdr)
        if _another_may_help(verdict) and cdr.failing is None and not self._hurries:
            verdict = await self._try_again(cdr, verdict)
        if verdict.kind is Kind.REJECTED and self._breaker.is_open and (is_probe or cdr.failing is None):
            return Outcome.EXHAUSTED, verdict  # an endpoint that takes nothing judges nothing
        return OUTCOMES[verdict.kind], verdict

    async def _try_again(self, cdr: Cdr, verdict: Verdict) -> Verdict:
        """Go on after a first attempt, which was made plain: tenacity costs more than all else in it."""
        known = True

        async def attempt() -> Verdict:
            nonlocal known, verdict
            if not known and not self._hurries:
                another = await self._attempt(cdr)
                verdict = verdict if another.kind is Kind.UNTRIED else another
            known = False
            return verdict

        last: Verdict = await self._retrying.copy()(attempt)
        return last

    async def _attempt(self, cdr: Cdr) -> Verdict:
        if not await self._has_turn(cdr):
            return Verdict(Kind.UNTRIED, "other")
        cdr.attempts += 1
        began = time.monotonic()
        verdict = await self._endpoint.post(cdr.webhook_id, cdr.body, cdr.attempts)
        self._metrics.attempted(verdict.result, time.monotonic() - began)
        if verdict.kind is Kind.DELIVERED:
            self._breaker.taken()
        else:
            self._breaker.failed(cdr, began, verdict)
            events.attempt_failed(self._endpoint.name, cdr.webhook_id, cdr.attempts, verdict.result, verdict.status)
        return verdict

    async def _has_turn(self, cdr: Cdr) -> bool:
        """Wait for it where the rate is limited. False where it is given up: by a stop, or by an open breaker."""
        if self._limiter is None:
            return self._breaker.admits(cdr)
        await self._unless_hurried(self._limiter.acquire())
        return self._breaker.admits(cdr) and not self._stopping.is_set()

    async def _pause(self, seconds: float) -> None:
        await self._unless_hurried(asyncio.sleep(seconds))

    async def _unless_hurried(self, waiting: Coroutine[Any, Any, None]) -> None:
        waits = [asyncio.ensure_future(one) for one in (waiting, self._stopping.wait(), self._breaker.opened.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    @property
    def _hurries(self) -> bool:
        """Whether what is between two attempts is to be left where it is."""
        return self._stopping.is_set() or self._breaker.is_open


def _limiter(rate: float) -> AsyncLimiter | None:
    """Return what spreads attempts evenly, but for a tenth of a second's worth."""
    burst = max(1.0, rate / 10)
    return AsyncLimiter(burst, burst / rate) if rate else None


def _another_may_help(verdict: Verdict) -> bool:
    """A hold is waited for in processing: nothing sleeps in a slot for as long as an endpoint asks."""
    return verdict.kind is Kind.TRANSIENT and verdict.hold is None


def _last_verdict(state: RetryCallState) -> Any:
    return state.outcome.result() if state.outcome else None
