"""Keep one access token for all attempts at an endpoint."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from app.config.timings import Timings
from app.delivery.failures import TokenError
from app.delivery.oauth2.token_answer import Grant
from app.delivery.oauth2.token_server import TokenServer

LONGEST_MARGIN: Final = 60.0
"""Seconds before the end of a token at which a new one is asked for; a quarter of its time, if that is less."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Holds the value of the header, and when to renew it and when it ends, on the monotonic clock."""

    header: bytes = field(repr=False)
    renew_at: float
    ends_at: float


class AccessTokens:
    """Asks for a token once for all attempts that need it, before the last one ends, and with pauses after a failure.

    `is_probing`: whether only probes are made. They are rare, so that each may ask.
    """

    def __init__(self, server: TokenServer, timings: Timings, is_probing: Callable[[], bool]) -> None:
        self.place = server.place
        self._server, self._timings, self._is_probing = server, timings, is_probing
        self._token: AccessToken | None = None
        self._asking: asyncio.Task[None] | None = None
        self._failure: TokenError | None = None
        self._pause = 0.0
        self._failed_at = 0.0
        self._replaceable_at = 0.0

    def at_hand(self) -> AccessToken | None:
        """Return the token if it is still good. If it ends soon, another one is asked for beside the attempts."""
        token, now = self._token, time.monotonic()
        if token is None or now >= token.ends_at:
            return None
        if now >= token.renew_at and self._asking is None and not self._is_pausing(now):
            self._ask()
        return token

    async def new(self) -> AccessToken:
        """Return a token that the server is asked for once for all. Raises TokenError; for a while without asking."""
        if self._asking is None and self._failure and self._is_pausing(time.monotonic()):
            raise self._failure.again()
        await asyncio.shield(self._asking or self._ask())
        if self._failure or self._token is None:
            raise (self._failure or TokenError("no token")).again()
        return self._token

    def may_replace(self, refused: AccessToken) -> bool:
        """Tell whether, after a 401, another token may help.

        Right after one was replaced, a 401 says that the endpoint accepts none: the server is not asked each time.
        """
        return self._token is not refused or self._asking is not None or time.monotonic() >= self._replaceable_at

    async def instead_of(self, refused: AccessToken) -> AccessToken:
        """Return the token to use after a 401: the one that others got meanwhile, or a new one. Raises TokenError."""
        if self._token is not None and self._token is not refused:
            return self._token
        token = await self.new()
        self._replaceable_at = time.monotonic() + self._timings.token_replaced
        return token

    async def aclose(self) -> None:
        if self._asking:
            self._asking.cancel()
            with suppress(asyncio.CancelledError):
                await self._asking
        await self._server.aclose()

    def _is_pausing(self, now: float) -> bool:
        if self._failure is None:
            return False
        pause = 0.0 if self._is_probing() else self._pause
        return now < self._failed_at + max(pause, self._failure.retry_after)

    def _ask(self) -> asyncio.Task[None]:
        self._asking = asyncio.get_running_loop().create_task(self._renew())
        return self._asking

    async def _renew(self) -> None:
        began = time.monotonic()
        try:
            self._token, self._failure, self._pause = _good_from(began, await self._server.ask()), None, 0.0
        except TokenError as error:
            timings = self._timings
            self._pause = min(max(2 * self._pause, timings.token_pause), timings.longest_token_pause)
            self._failure, self._failed_at = error, time.monotonic()
        finally:
            self._asking = None


def _good_from(began: float, grant: Grant) -> AccessToken:
    """Return the token of an answer that was asked for at `began`."""
    ends_at = began + grant.lifetime
    return AccessToken(f"Bearer {grant.token}".encode(), ends_at - min(LONGEST_MARGIN, grant.lifetime / 4), ends_at)
