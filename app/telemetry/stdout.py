"""Put a queue before standard output, so that nobody who reads it, or stops reading, can stop the process."""

import os
import sys
from functools import cache
from typing import Final

from app.telemetry.log_queue import LogQueue
from app.telemetry.stderr import STDERR

STDOUT: Final = 1
NONE: Final = -1
"""In place of a standard output that is closed: each line is dropped, and counted."""


def keep_numbers() -> None:
    """Let no socket get the number of a standard file that is closed: libuv would abort when it closes it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)


@cache
def queued() -> LogQueue:
    """Return the one queue of this process, and start it. What is dropped, its user has to tell."""
    queue = LogQueue(STDOUT if sys.stdout else NONE, lambda _: None)
    queue.start()
    return queue


def dropped() -> int:
    """Return how many lines were dropped since the process began, because nobody read them."""
    return queued().dropped if _is_used() else 0


def flush(deadline: float) -> None:
    """Wait until all lines are written, but not longer than the deadline in seconds."""
    if _is_used():
        queued().flush(deadline)


def _is_used() -> bool:
    return queued.cache_info().currsize > 0
