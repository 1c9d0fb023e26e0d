"""What a benchmark has found, for people and as JSON."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from redis import Redis
from rich.console import Console
from rich.table import Table

from tests.benchmarks.targets import Check, Target

LIBRARIES = ("redis", "hiredis", "aiohttp", "httpx", "uvloop")

Cell = str | int | float
Row = dict[str, Cell]


@dataclass
class Report:
    """Rows that all have the same columns, and how they compare with the targets."""

    title: str
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    note: str = ""

    def row(self, cells: Mapping[str, Cell]) -> None:
        self.rows.append(dict(cells))

    def check(self, target: Target, measured: float) -> None:
        self.checks.append(target.check(measured))

    def print(self, console: Console) -> None:
        if self.rows:
            console.print(self._table())
        for check in self.checks:
            console.print(_sentence(check))
        if self.note:
            console.print(f"[dim]{self.note}[/]")
        console.print()

    def as_json(self) -> dict[str, Any]:
        checks = [check.as_json() for check in self.checks]
        return {"title": self.title, "rows": self.rows, "targets": checks, "note": self.note}

    def as_markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        if self.rows:
            ruler = ["---" if isinstance(cell, str) else "---:" for cell in self.rows[0].values()]
            lines += [f"| {' | '.join(cells)} |" for cells in [list(self.rows[0]), ruler]]
            lines += [f"| {' | '.join(map(_shown, row.values()))} |" for row in self.rows]
            lines.append("")
        lines += [f"- {_plain_sentence(check)}" for check in self.checks]
        return "\n".join([*lines, "", self.note]).rstrip() + "\n"

    def _table(self) -> Table:
        table = Table(title=self.title, title_justify="left")
        for name, cell in self.rows[0].items():
            table.add_column(name, justify="left" if isinstance(cell, str) else "right")
        for row in self.rows:
            table.add_row(*map(_shown, row.values()))
        return table


def _shown(cell: Cell) -> str:
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else cell
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


def _sentence(check: Check) -> str:
    target = check.target
    verdict = "[green]met[/]" if check.met else "[red]NOT MET[/]"
    return f"  {target.what}: {_shown(check.measured)} {target.unit} ({target.bound} {target.limit:g}) {verdict}"


def _plain_sentence(check: Check) -> str:
    target, verdict = check.target, "met" if check.met else "**not met**"
    return f"{target.what}: {_shown(check.measured)} {target.unit}, target {target.bound} {target.limit:g}: {verdict}"


def circumstances(redis: Redis) -> dict[str, str]:
    """Return machine, versions and date: what numbers mean nothing without."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {_cpu_model()}, Linux {platform.release()}",
        "versions": f"Python {platform.python_version()}, Redis {redis.info('server')['redis_version']}, {libraries}",
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")
