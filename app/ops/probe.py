"""Try an endpoint that is down at once, because an operator asks for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from app.errors import CommandError
from app.lane.lane_loops import LaneLoops

STEP: Final = 0.05
"""Seconds between two looks whether the probe has ended."""

Outcome = Literal["back", "still down", "not down", "nothing to try", "under way", "no lease"]


@dataclass(frozen=True)
class Probed:
    """Says what came of it. `result`: a status, or a kind of failure; empty where nothing was attempted."""

    endpoint: str
    outcome: Outcome
    words: str
    result: str = ""


class Probes:
    """Probes for the operator server. A probe that is asked for again while it runs is the same one.

    `others_down` counts the other processes that take an endpoint to be down: each has a breaker of its own.
    """

    def __init__(
        self,
        running: Callable[[], Sequence[LaneLoops]],
        names: Sequence[str],
        patience: float,
        others_down: Callable[[str], Awaitable[int]],
    ) -> None:
        self._running, self._names, self._patience = running, names, patience
        self._others_down = others_down

    async def probe(self, name: str) -> Probed:
        """Make the breaker half-open now, and wait for what comes of it. Raises CommandError."""
        if name not in self._names:
            raise CommandError(f"there is no such endpoint; there are {', '.join(self._names)}")
        lanes = [loops for loops in self._running() if loops.endpoint.name == name and loops.lane.lease.holds()]
        if lanes:
            return await self._try(lanes)
        return Probed(name, "no lease", f"this process has no lease, so it can try nothing at {name}")

    async def _try(self, lanes: Sequence[LaneLoops]) -> Probed:
        """Probe an endpoint by whichever of its lanes has the turn: they share a gate."""
        name, gate = lanes[0].endpoint.name, lanes[0].lane.gate
        if gate.breaker.is_closed:
            return Probed(name, "not down", f"{name} is not down here: what failed is tried again within a minute")
        before = _attempts(lanes)
        gate.probe_now()
        try:
            async with asyncio.timeout(self._patience):
                while gate.breaker.awaits_probe:  # noqa: ASYNC110 - the breaker knows nothing of loops
                    await asyncio.sleep(STEP)
        except TimeoutError:
            return Probed(name, "under way", f"the probe of {name} is still under way")
        last = max((loops.lane.metrics for loops in lanes), key=lambda metrics: metrics.last_attempt_at or 0)
        result = str(last.last_status or last.last_result)
        if gate.breaker.is_closed:
            return Probed(
                name, "back", f"{name} has answered {result}: it is back{await self._elsewhere(name)}", result
            )
        if _attempts(lanes) == before:
            return Probed(name, "nothing to try", f"no CDR waits for {name}: the next one that comes is tried")
        return Probed(name, "still down", f"{name} is still down: the last result is {result}", result)

    async def _elsewhere(self, name: str) -> str:
        others = await self._others_down(name)
        if not others:
            return ""
        processes = "1 other process has" if others == 1 else f"{others} other processes have"
        return f"; {processes} yet to find out: by the next probe there, or by probe --url"


def _attempts(lanes: Sequence[LaneLoops]) -> int:
    return sum(loops.lane.metrics.attempts.total() for loops in lanes)
