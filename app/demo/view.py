"""Show the demo, on a terminal and in a pipe."""

import json
import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.demo.lists import Lengths

BLOCKS = " ▁▂▃▄▅▆▇█"
EVENTS = 9
OTHER_LINES = 17
"""What a picture has besides its events, and one line for the cursor."""

HISTORY = 56
LOUD = {"warning": "yellow", "error": "red", "critical": "red"}
LINE_EVERY = 1.0
CURVE_EVERY = 1.0


@dataclass(frozen=True)
class Scene:
    """Counts what is where at one moment."""

    lists: Lengths
    in_flight: int
    pushed: int
    delivered: int
    duplicates: int
    refused: int
    retried: int
    p50: str
    p99: str

    @property
    def is_empty(self) -> bool:
        return self.lists.source == self.lists.processing == self.lists.deferred == 0

    def line(self) -> str:
        return (
            f"pushed {self.pushed}, source {self.lists.source}, processing {self.lists.processing}, "
            f"deferred {self.lists.deferred}, "
            f"in flight {self.in_flight}, delivered {self.delivered}, refused {self.refused}, "
            f"retried {self.retried}, dead {self.lists.dead}, p50 {self.p50}, p99 {self.p99}"
        )


def notable(line: str) -> tuple[str, str] | None:
    """Return level and text of a log line that a person should see, and nothing for the others."""
    try:
        event = dict(json.loads(line))
    except ValueError:
        return "error", line
    level = str(event.pop("level", ""))
    name = event.pop("event", "")
    event.pop("timestamp", None)
    fields = " ".join(f"{field}={value}" for field, value in event.items())
    return (level, f"{name} {fields}") if level in LOUD else None


class PlainView:
    """Prints a line for each thing that happens, and one per second with the numbers: for pipes and `--quick`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._shown = 0.0

    def phase(self, text: str) -> None:
        self._say(f"== {text}")

    def log(self, line: str) -> None:
        if found := notable(line):
            self._say(f"   forwarder: {found[0]}: {found[1]}")

    def show(self, scene: Scene) -> None:
        if time.monotonic() - self._shown >= LINE_EVERY:
            self._shown = time.monotonic()
            self._say(f"   {scene.line()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _say(self, text: str) -> None:
        elapsed = time.monotonic() - self._began
        self._console.print(f"{elapsed:5.1f}s {text}", markup=False, highlight=False, soft_wrap=True)


class LiveView:
    """Draws a picture again as things happen; the last one stays."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._began = time.monotonic()
        self._phase = ""
        self._events: deque[Text] = deque(maxlen=EVENTS)
        self._scenes: deque[Scene] = deque(maxlen=HISTORY)
        self._kept = 0.0

    def phase(self, text: str) -> None:
        self._phase = text
        self._note(text, "bold cyan")

    def log(self, line: str) -> None:
        if found := notable(line):
            self._note(found[1], LOUD[found[0]])

    def show(self, scene: Scene) -> None:
        if time.monotonic() - self._kept >= CURVE_EVERY:
            self._kept = time.monotonic()
            self._scenes.append(scene)
        self._live.update(self._picture(scene), refresh=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def _note(self, text: str, style: str) -> None:
        elapsed = time.monotonic() - self._began
        self._events.append(Text.assemble((f"{elapsed:5.1f}s ", "dim"), (text, style)))

    def _picture(self, scene: Scene) -> RenderableType:
        elapsed = time.monotonic() - self._began
        width, height = self._live.console.size
        room = min(EVENTS, max(1, height - OTHER_LINES))
        latest = [*self._events][-room:]
        events = [*latest, *[Text()] * (room - len(latest))]
        for event in events:
            event.truncate(max(1, width - 4), overflow="ellipsis")
        numbers = (_flow(scene), _trouble(scene), self._curves())
        parts = (Text(self._phase, "bold cyan"), *numbers, Text(), *events)
        return Panel(Group(*parts), title="cdr-forwarder demo", subtitle=f"{elapsed:.0f} s", box=box.ROUNDED)

    def _curves(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        waiting = [scene.lists.source + scene.lists.processing for scene in self._scenes]
        delivered = [scene.delivered for scene in self._scenes]
        speed = [after - before for before, after in pairwise(delivered)]
        for name, values, style in (("waiting in Redis", waiting, "yellow"), ("delivered", speed, "green")):
            grid.add_row(Text(name, "dim"), Text(sparkline(values), style))
        return grid


def _numbers(*columns: tuple[str, int | str, str]) -> RenderableType:
    table = Table(box=box.SIMPLE, expand=True, pad_edge=False, padding=0)
    for name, _, _ in columns:
        table.add_column(name, justify="right", no_wrap=True, ratio=1)
    table.add_row(*[Text(str(value), style) for _, value, style in columns])
    return table


def _flow(scene: Scene) -> RenderableType:
    return _numbers(
        ("pushed", scene.pushed, "bold"),
        ("source", scene.lists.source, "yellow"),
        ("processing", scene.lists.processing, "yellow"),
        ("in flight", scene.in_flight, "blue"),
        ("delivered", scene.delivered, "bold green"),
    )


def _trouble(scene: Scene) -> RenderableType:
    return _numbers(
        ("refused", scene.refused, "red"),
        ("retried", scene.retried, "magenta"),
        ("deferred", scene.lists.deferred, "yellow"),
        ("duplicates", scene.duplicates, "magenta"),
        ("dead", scene.lists.dead, "red"),
        ("p50", scene.p50, "bold"),
        ("p99", scene.p99, "bold"),
    )


def sparkline(values: list[int]) -> str:
    most = max(values, default=0) or 1
    return "".join(BLOCKS[-(-max(0, value) * (len(BLOCKS) - 1) // most)] for value in values)
