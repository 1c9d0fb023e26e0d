"""Write log lines from a bounded queue, so that a reader that stalls can never stop the process."""

import io
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

MOST_BYTES: Final = 1024 * 1024
"""What the queue holds. Above that, lines are dropped."""

ONE_WRITE: Final = 64 * 1024


class LogQueue:
    """Writes to a file descriptor in a daemon thread. A line that does not fit is dropped and counted.

    `on_dropped` is called, in that thread, with the number of lines that were dropped since the last call, once
    lines can be written again.
    """

    def __init__(self, descriptor: int, on_dropped: Callable[[int], None], most_bytes: int = MOST_BYTES) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._on_dropped = on_dropped
        self._most_bytes = most_bytes
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._reported = 0
        self._is_writing = False
        self._changed = threading.Condition()
        # A daemon, because a write that blocks for ever must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, lines: str) -> None:
        """Add one line or several, or drop them. Never waits for whoever reads the descriptor, and never raises."""
        # A path may hold what cannot be encoded. That must not raise here.
        data = lines.encode(errors="backslashreplace")
        with self._changed:
            if self._bytes + len(data) > self._most_bytes:
                self.dropped += data.count(b"\n")
                return
            self._lines.append(data)
            self._bytes += len(data)
            self._changed.notify_all()

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def flush(self, deadline: float) -> bool:
        """Wait until everything is written, but not longer than the deadline in seconds; tell whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._is_writing, deadline)

    def _run(self) -> None:
        while True:
            lines = self._next_lines()
            lost = _write(self._descriptor, lines)
            with self._changed:
                self.dropped += lost
                self._is_writing = False
                unreported = self.dropped - self._reported
                self._changed.notify_all()
            # Only after a write that worked: before that, this warning would be dropped too.
            if unreported and not lost:
                self._reported += unreported
                self._on_dropped(unreported)

    def _next_lines(self) -> list[bytes]:
        """Wait for lines, and return as many as go into one write, at least one."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines)
            lines = [self._lines.popleft()]
            total = len(lines[0])
            while self._lines and total + len(self._lines[0]) <= ONE_WRITE:
                lines.append(self._lines.popleft())
                total += len(lines[-1])
            self._bytes -= total
            self._is_writing = True
            return lines


class LogStream(io.TextIOBase):
    """Takes the place of `sys.stderr`: the interpreter and libraries write there too, and must not block either."""

    def __init__(self, queue: LogQueue) -> None:
        self._queue = queue
        self._line = ""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._queue.isatty()

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._queue.put(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes each line as soon as it is complete."""


def _write(descriptor: int, lines: list[bytes]) -> int:
    """Write the lines; return how many could not be written, since nobody reads them any more or a disk is full."""
    left = memoryview(b"".join(lines))
    try:
        while left:
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:  # somebody who shares it has made it non-blocking
                select.select([], [descriptor], [])
    except OSError:
        return sum(data.count(b"\n") for data in lines)
    return 0
