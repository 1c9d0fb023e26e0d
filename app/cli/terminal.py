"""Print results, for people and for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from app.telemetry.printable import plain

WIDEST: Final = 10_000
STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def console() -> Console:
    return Console(highlight=False, emoji=False, markup=False)


def say(text: str) -> None:
    """Print one line, whatever the width."""
    print(plain(text), flush=True)  # noqa: T201 - what a command answers


def say_json(value: Any, *, indent: int | None = None) -> None:
    text = json.dumps(value, indent=indent, default=str, ensure_ascii=False)
    # A CDR may hold terminal control characters; JSON escapes them.
    safe = (sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)
    print("".join(safe), flush=True)  # noqa: T201 - what a command answers


class Rows:
    """Holds rows under headings. Where a table has no room, each is a few lines, with its first cell on one of them.

    The first cell can then be copied whole. The columns of `numbers` are aligned to the right.
    """

    def __init__(self, *headings: str, numbers: Sequence[str] = ()) -> None:
        self._headings, self._numbers = headings, numbers
        self._rows: list[list[str]] = []

    def add(self, *cells: object) -> None:
        self._rows.append(["-" if cell in (None, "") else plain(cell) for cell in cells])

    def __len__(self) -> int:
        return len(self._rows)

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        made = self._table()
        if Measurement.get(out, options.update(max_width=WIDEST), made).maximum <= options.max_width:
            yield made
            return
        for first, *others in self._rows:
            named = (f"{name} {cell}" for name, cell in zip(self._headings[1:], others, strict=True) if cell != "-")
            yield Text(first, no_wrap=True, overflow="ignore")
            yield Padding(Text(", ".join(named)), (0, 0, 0, 2))

    def _table(self) -> Table:
        made = Table(box=box.SIMPLE, pad_edge=False)
        for heading in self._headings:
            made.add_column(heading, justify="right" if heading in self._numbers else "left", overflow="fold")
        for row in self._rows:
            made.add_row(*map(Text, row))
        return made


def show(*renderables: RenderableType) -> None:
    # A pipe has no width: 80 columns would fold ids that somebody wants to search for.
    out = console()
    if not out.is_terminal:
        out.width = 200
    out.print(*renderables, sep="\n")


def verdict_line(level: str, what: str, advice: str) -> None:
    line = Text.assemble((f"{level:<5}", STYLES[level]), plain(what))
    if advice:
        line.append(f"  → {plain(advice)}", style="dim" if level == "ok" else "")
    console().print(line, soft_wrap=True)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar, only on a terminal; yield the function that advances it."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    out = Console(file=sys.stderr)
    with Progress(*columns, console=out, disable=not out.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.update(task, advance=number)


def joined(words: Iterable[object]) -> str:
    return ", ".join(map(str, words)) or "none"
