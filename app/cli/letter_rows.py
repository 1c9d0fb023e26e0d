"""Show dead letters in rows."""

from datetime import datetime
from typing import Final

from app.cli.terminal import Rows
from app.dead_letters.lanes import summary
from app.dead_letters.store import Letter
from app.ops.words import clock

COLUMNS: Final = ("id", "endpoint", "reason", "status", "attempts", "first failed", "dead since", "bytes")
ROWS: Final = 1000
"""In one table: its columns are as wide as their content, so all of it must be known first."""


def empty_rows() -> Rows:
    return Rows(*COLUMNS, numbers=("status", "attempts", "bytes"))


def row(endpoint: str, letter: Letter, now: datetime) -> list[object]:
    """Return the cells under `COLUMNS`."""
    parts = summary(endpoint, letter)
    times = [moment and clock(moment, now) for moment in (letter.first_failed_at, letter.dead_at)]
    return [*(parts[name] for name in ("id", "endpoint", "reason", "status", "attempts")), *times, parts["bytes"]]
