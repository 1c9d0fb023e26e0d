"""Send notices to a chat, or to whatever listens there, beside the deliveries and never in their way."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from secrets import token_hex
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from app.config.endpoint import EndpointSettings
from app.config.hosts import host_and_port
from app.config.timings import Timings
from app.delivery.attempt import Attempt
from app.delivery.message import Message
from app.delivery.resolver import Resolver
from app.delivery.transport import build_transport
from app.delivery.verdict import Kind, Verdict
from app.telemetry import outages
from app.telemetry.notice import Notice, Writer
from app.telemetry.notices import Notices

TRIES: Final = 3
LONGEST_WAIT: Final = 30.0


class NoticePost:
    """Sends single notices."""

    def __init__(self, endpoint: EndpointSettings, resolver: Resolver, timings: Timings) -> None:
        self._attempt = Attempt(endpoint, build_transport(endpoint, resolver))
        self._wait = timings.notice_wait

    async def send(self, notice: Notice, tries: int = TRIES) -> Verdict:
        """Try it up to `tries` times, under one webhook-id, and return the last verdict."""
        webhook_id, body, attempt = f"notice_{token_hex(16)}", notice.body(), 0

        async def once() -> Verdict:
            nonlocal body, attempt
            attempt += 1
            verdict = await self._attempt.post(Message(webhook_id, body, attempt, source=""))
            if verdict.status == HTTPStatus.BAD_REQUEST:
                body = notice.body(is_bare=True)  # Google Chat refuses fields that it does not know
            return verdict

        return await _repeated(once, tries, self._wait)

    async def aclose(self) -> None:
        await self._attempt.aclose()


class Notifier:
    """Sends one notice at a time, while deliveries go on. What it cannot send is one warning, however often."""

    def __init__(self, endpoint: EndpointSettings, integrator: str, resolver: Resolver, timings: Timings) -> None:
        self.notices = Notices(Writer(integrator, socket.gethostname()), timings)
        self._post = NoticePost(endpoint, resolver, timings)
        self._outage = outages.notice_outage(host_and_port(endpoint.url.get_secret_value()))
        self._farewell = timings.notice_farewell
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop; tell what must not be left untold, if that takes no longer than the farewell."""
        if self._running:
            self._running.cancel()
            await asyncio.wait({self._running})
        with suppress(TimeoutError):
            async with asyncio.timeout(self._farewell):
                await asyncio.gather(*(self._post.send(notice, tries=1) for notice in self.notices.farewells()))
        await self._post.aclose()
        if self._running and not self._running.cancelled():
            self._running.result()

    async def _run(self) -> None:
        while True:
            subject = await self.notices.next()
            verdict = await self._post.send(subject.notice())
            subject.told(is_accepted=verdict.kind is Kind.DELIVERED)
            if verdict.kind is Kind.DELIVERED:
                self._outage.end()
            else:
                self._outage.begin(verdict.words)


async def _repeated(once: Callable[[], Awaitable[Verdict]], tries: int, wait: float) -> Verdict:
    def pause(state: RetryCallState) -> float:
        doubled = wait * 2 ** (state.attempt_number - 1)
        asked = state.outcome.result().retry_after if state.outcome else None
        return float(min(max(doubled, asked or 0.0), LONGEST_WAIT))

    return await AsyncRetrying(
        retry=retry_if_result(lambda verdict: verdict.kind is not Kind.DELIVERED),
        stop=stop_after_attempt(tries),
        wait=pause,
        sleep=asyncio.sleep,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )(once)
