"""Print results, for people and for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


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


def plain(text: object) -> str:
    """Return it without terminal control characters: anybody may have written what is in Redis."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def table(*headings: str, title: str = "", numbers: Sequence[str] = ()) -> Table:
    """Return an empty table; the columns of `numbers` are aligned to the right."""
    made = Table(title=title or None, box=box.SIMPLE, title_justify="left", title_style="bold", pad_edge=False)
    for heading in headings:
        made.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    return made


def add(to: Table, *cells: object) -> None:
    to.add_row(*(Text("-" if cell in (None, "") else plain(cell)) for cell in cells))


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
