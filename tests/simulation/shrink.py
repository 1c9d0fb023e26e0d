"""Makes a plan that breaks a law as small as it can, so that its trace can be read."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from tests.simulation.plan import BACKOFFS, Plan
from tests.simulation.world import Result

SECONDS: Final = 60.0


def shrunk(found: Result, run: Callable[[Plan], Result], seconds: float = SECONDS) -> Result:
    """Return the smallest run that was found within `seconds` and breaks the same law."""
    deadline = time.monotonic() + seconds
    best, tried = found, set[str]()
    progress = True
    while progress and time.monotonic() < deadline:
        progress = False
        for plan in _smaller(best.plan):
            text = plan.to_json()
            if text in tried or time.monotonic() > deadline:
                continue
            tried.add(text)
            result = run(plan)
            if result.law == found.law:
                best, progress = result, True
                break
    return best


def _smaller(plan: Plan) -> Iterator[Plan]:  # noqa: C901 - one way after the other
    """Yield plans with less in them, those with much less first."""
    if plan.patience > BACKOFFS:
        yield plan.but(patience=BACKOFFS)
    for part in ("faults", "pushes"):
        things = getattr(plan, part)
        size = len(things)
        while size:
            for begin in range(0, len(things), size):
                yield plan.but(**{part: things[:begin] + things[begin + size :]})
            size //= 2
    for kind in plan.packets:
        yield plan.but(packets={other: rate for other, rate in plan.packets.items() if other != kind})
    for name in plan.settings:
        yield plan.but(settings={other: value for other, value in plan.settings.items() if other != name})
    plain = Plan(plan.seed)
    for name in ("disorder", "mood", "redis_latency", "bandwidth", "oldest"):
        if getattr(plan, name) != getattr(plain, name):
            yield plan.but(**{name: getattr(plain, name)})
    if plan.services > 1 and all(fault.target < plan.services - 1 for fault in plan.faults):
        yield plan.but(services=plan.services - 1)
    if plan.duration > 1:
        yield plan.but(duration=max(1.0, round(plan.duration / 2, 3)))
