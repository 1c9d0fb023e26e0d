"""Open a file that somebody has named."""

import sys
from pathlib import Path
from typing import BinaryIO

from app.errors import CommandError


def open_bytes(name: str) -> BinaryIO:
    """Open it, or for - standard input. Raises CommandError."""
    try:
        return sys.stdin.buffer if name == "-" else Path(name).open("rb")
    except OSError as error:
        raise CommandError(f"{name}: cannot be read: {error.strerror}") from error
