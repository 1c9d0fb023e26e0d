"""End attempts that take too long: one timer for all of an endpoint, where asyncio.timeout makes one for each.

A timer for each costs a quarter of an attempt.
"""

import asyncio
import time
from types import TracebackType
from typing import Self, cast


class Deadlines:
    """Knows the attempts under way, oldest first; all may take the same time, in seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[Deadline, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, one: "Deadline") -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end_late)
        self._ends[one] = time.monotonic() + self._seconds

    def end(self, one: "Deadline") -> None:
        self._ends.pop(one, None)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end_late(self) -> None:
        late = []
        self._timer, now = None, time.monotonic()
        for one, end in self._ends.items():
            if end > now:
                self._timer = asyncio.get_running_loop().call_later(end - now, self._end_late)
                break
            late.append(one)
        for one in late:
            del self._ends[one]
            one.cancel()


class Deadline:
    """Raises TimeoutError in its block when it is past, as asyncio.timeout does."""

    __slots__ = ("_all", "_cancels", "_is_past", "_task")

    def __init__(self, every: Deadlines) -> None:
        self._all = every
        self._is_past = False

    def cancel(self) -> None:
        self._is_past = True
        self._task.cancel()

    def __enter__(self) -> Self:
        self._task = task = cast("asyncio.Task[object]", asyncio.current_task())
        self._cancels = task.cancelling()
        self._all.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._all.end(self)
        # Somebody else may have cancelled it as well: that cancellation is not ours to swallow.
        if self._is_past and self._task.uncancel() <= self._cancels and kind is asyncio.CancelledError:
            raise TimeoutError from error
