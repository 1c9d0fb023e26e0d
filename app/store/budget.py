"""Adapt how many bytes one command may carry each way."""

import time
from typing import Final

QUICK: Final = 1.0
"""Seconds; what takes longer carries too much for the link."""


class Budget:
    """Shrinks with each lost or slow reply, down to one CDR, and grows again with quick ones.

    A claim of 20 MiB over 1 MiB/s would otherwise be lost, and asked for again, for ever. Where packets get lost,
    many small commands at once bring more than a few large ones.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.bytes = most

    @property
    def is_small(self) -> bool:
        """Tell whether the link is a bad one."""
        return 4 * self.bytes < self._most

    def lost(self, size: int) -> None:
        """Take note of a lost reply to a command that could carry `size` bytes.

        Many are lost in one moment: they had the same size, so that they count as one.
        """
        self.bytes = min(self.bytes, max(1, size // 2))

    def answered(self, size: int, sent: float) -> None:
        """Take note of the reply to a command that carried `size` bytes and was sent at `sent` (monotonic)."""
        if time.monotonic() - sent > QUICK:
            self.bytes = min(self.bytes, max(1, size * 3 // 4))
        elif 2 * size >= self.bytes:  # one that carried little says little
            self.bytes = min(self._most, self.bytes + self.bytes // 4 + 1)
