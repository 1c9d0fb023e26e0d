"""How often and how long an endpoint is tried, and what came of it."""

import asyncio
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_random_exponential

from app import events
from app.cdr import Cdr
from app.endpoint import Endpoint
from app.endpoint_settings import EndpointSettings
from app.verdict import Kind, Verdict


class Outcome(StrEnum):
    """What came of a delivery. REJECTED: the endpoint will never take this CDR; EXHAUSTED: not now."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    EXHAUSTED = "exhausted"


OUTCOMES: Final = {
    Kind.DELIVERED: Outcome.DELIVERED,
    Kind.REJECTED: Outcome.REJECTED,
    Kind.TRANSIENT: Outcome.EXHAUSTED,
}


class Delivery:
    """The attempts of one lane."""

    def __init__(self, endpoint: Endpoint, settings: EndpointSettings, stopping: asyncio.Event) -> None:
        self._endpoint = endpoint
        self._stopping = stopping
        enough = stop_after_attempt(settings.attempts)
        self._retrying: AsyncRetrying = AsyncRetrying(
            stop=lambda state: stopping.is_set() or enough(state),
            wait=wait_random_exponential(multiplier=settings.backoff, max=settings.backoff_max),
            retry=retry_if_result(_another_may_help),
            sleep=self._pause,
            retry_error_callback=_last_verdict,
        )

    async def deliver(self, cdr: Cdr) -> tuple[Outcome, Verdict]:
        """Try until there is an outcome; a CDR that failed before gets one attempt."""
        verdict = await self._attempt(cdr)
        if _another_may_help(verdict) and cdr.failing is None:
            verdict = await self._try_again(cdr, verdict)
        return OUTCOMES[verdict.kind], verdict

    async def _try_again(self, cdr: Cdr, verdict: Verdict) -> Verdict:
        """Go on after a first attempt, which was made plain: tenacity costs more than all else in it."""
        known = True

        async def attempt() -> Verdict:
            nonlocal known, verdict
            if not known and not self._stopping.is_set():
                verdict = await self._attempt(cdr)
            known = False
            return verdict

        last: Verdict = await self._retrying.copy()(attempt)
        return last

    async def _attempt(self, cdr: Cdr) -> Verdict:
        cdr.attempts += 1
        verdict = await self._endpoint.post(cdr.webhook_id, cdr.body, cdr.attempts)
        if verdict.kind is not Kind.DELIVERED:
            events.attempt_failed(self._endpoint.name, cdr.webhook_id, cdr.attempts, verdict.result, verdict.status)
        return verdict

    async def _pause(self, seconds: float) -> None:
        """Wait between two attempts; a stop ends the wait."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def _another_may_help(verdict: Verdict) -> bool:
    """A hold is waited for in processing: nothing sleeps in a slot for as long as an endpoint asks."""
    return verdict.kind is Kind.TRANSIENT and verdict.hold is None


def _last_verdict(state: RetryCallState) -> Any:
    return state.outcome.result() if state.outcome else None
