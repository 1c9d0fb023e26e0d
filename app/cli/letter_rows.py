"""Show dead letters in rows, or as JSON."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.cli.terminal import Rows, say, say_json, show
from app.dead_letters.lanes import Lane, summary
from app.dead_letters.store import Letter
from app.ops.words import clock

SOURCE: Final = "source"
COLUMNS: Final = ("id", "endpoint", SOURCE, "reason", "status", "attempts", "first failed", "dead since", "bytes")
ROWS: Final = 1000
"""In one table: its columns are as wide as their content, so all of it must be known first."""


@dataclass
class Listing:
    """Prints letters as they come, and how many there were. `with_source`: whether to name the source of each."""

    asked_at: datetime
    as_json: bool
    with_source: bool
    number: int = 0

    def __post_init__(self) -> None:
        self._columns = [name for name in COLUMNS if self.with_source or name != SOURCE]
        self._rows = self._empty()

    def add(self, lane: Lane, letter: Letter) -> None:
        self.number += 1
        if self.as_json:
            say_json(summary(lane, letter))
            return
        if len(self._rows) == ROWS:
            show(self._rows)
            self._rows = self._empty()
        self._rows.add(*self._cells(lane, letter))

    def end(self) -> None:
        if self.as_json:
            return
        if self._rows:
            show(self._rows)
        say(f"{self.number} dead letters")

    def _empty(self) -> Rows:
        return Rows(*self._columns, numbers=("status", "attempts", "bytes"))

    def _cells(self, lane: Lane, letter: Letter) -> list[object]:
        times = {"first failed": letter.first_failed_at, "dead since": letter.dead_at}
        cells = summary(lane, letter) | {
            name: moment and clock(moment, self.asked_at) for name, moment in times.items()
        }
        return [cells[name] for name in self._columns]
