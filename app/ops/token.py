"""Check the operator token, so that nobody can guess it quickly."""

import asyncio
import hmac

from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.config.timings import Timings
from app.ops.complaints import Complaints


class OperatorToken:
    """Checks one wrong token per `guess_pause`, of all callers together.

    The right token waits for the wrong ones before it, at most `guess_queue` seconds: if it were answered at once, a
    guesser would not have to wait for the answers to the others.
    """

    def __init__(self, token: str, timings: Timings, complaints: Complaints) -> None:
        self._token = token
        self._timings = timings
        self._complaints = complaints
        self._free_at = 0.0
        """When the next one may be checked, by the clock of the loop."""

    @property
    def is_set(self) -> bool:
        return bool(self._token)

    async def check(self, request: Request) -> None:
        """Return if the request has the token. Its connection is then not closed for others. Raises HTTPException."""
        if not self._token:
            raise HTTPException(403, "not allowed: CDR_OPS_TOKEN is not set\n")
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not given:
            raise _refused(401, "needs CDR_OPS_TOKEN\n")
        now = asyncio.get_running_loop().time()
        turn = max(now, self._free_at)
        # In constant time: otherwise the time to answer would tell how much of a token is right.
        if hmac.compare_digest(given.encode(errors="replace"), self._token.encode()):
            await asyncio.sleep(turn - now)
            request.state.connection.is_trusted = True
            return
        await self._refuse(turn, now)

    async def _refuse(self, turn: float, now: float) -> None:
        # The turn is used up even if the caller hangs up: otherwise guessing would be fast.
        pause, queue = self._timings.guess_pause, self._timings.guess_queue
        self._complaints.refused("wrong token")
        if turn + pause - now > queue:
            await asyncio.sleep(pause)
            raise _refused(429, "too many wrong tokens: wait\n")
        self._free_at = turn + pause
        await asyncio.sleep(self._free_at - now)
        raise _refused(401, "needs CDR_OPS_TOKEN\n")


def _refused(status: int, text: str) -> HTTPException:
    return HTTPException(status, text, headers={"www-authenticate": "Bearer"} if status == 401 else None)  # noqa: PLR2004 - RFC 9110, 11.6.1
