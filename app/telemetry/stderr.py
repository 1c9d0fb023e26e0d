"""Put a queue before standard error, so that nobody who reads it, or stops reading, can stop the process."""

import os
import sys
from collections.abc import Callable
from typing import Final, TextIO, cast

from app.telemetry.log_queue import LogQueue, LogStream

STDERR: Final = 2

_queue: LogQueue | None = None


def queued(on_dropped: Callable[[int], None]) -> TextIO:
    """Let all that is written to standard error pass through the queue from now on, and return its stream."""
    global _queue  # noqa: PLW0603 - a process has one standard error
    if _queue is None:
        _queue = LogQueue(_descriptor(), on_dropped)
        _queue.start()
    sys.stderr = cast("TextIO", LogStream(_queue))
    return sys.stderr


def dropped() -> int:
    """Return how many lines were dropped since the process began, because nobody read them."""
    return _queue.dropped if _queue else 0


def flush(deadline: float) -> None:
    """Wait until all lines are written, but not longer than the deadline in seconds."""
    if _queue:
        _queue.flush(deadline)


def _descriptor() -> int:
    """Return the descriptor to write to: not that of a closed standard error, which a socket may get."""
    return STDERR if sys.stderr else os.open(os.devnull, os.O_WRONLY)
