"""Run the benchmarks: `python -m tests.benchmarks [name ...] [--json FILE] [--quick]`."""

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tests.benchmarks import (
    attempt,
    batch,
    deferred,
    delivery_log,
    distance,
    drain,
    idle,
    lanes,
    loss,
    memory,
    poison,
    recover,
    replicas,
    sizes,
)
from tests.benchmarks.errors import CannotRunError
from tests.benchmarks.report import Report, circumstances
from tests.benchmarks.scale import FULL, QUICK, Scale
from tests.benchmarks.stage import stage

BENCHMARKS: dict[str, Callable[[Scale], list[Report]]] = {
    "attempt": attempt.run,
    "drain": drain.run,
    "batch": batch.run,
    "poison": poison.run,
    "loss": loss.run,
    "idle": idle.run,
    "recover": recover.run,
    "distance": distance.run,
    "replicas": replicas.run,
    "sizes": sizes.run,
    "lanes": lanes.run,
    "memory": memory.run,
    "deferred": deferred.run,
    "delivery_log": delivery_log.run,
}

WIDTH = 120
RULE = "\n----\n\n"
"""In a Markdown file, what is above it is written by hand."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help=" | ".join(BENCHMARKS))] = None,
    *,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results there, too.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables there, too, below its rule.")] = None,
    quick: Annotated[bool, typer.Option(help="Smaller numbers: seconds each rather than minutes.")] = False,
) -> None:
    """Measure the forwarder beside the straightforward loop, and compare with the targets. All, or those named."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    chosen = names or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    console = Console(width=WIDTH, highlight=False)
    with stage() as place:
        found: dict[str, Any] = {**circumstances(place.client), "quick": quick, "benchmarks": {}}
    console.print("\n".join(f"{name}: {value}" for name, value in found.items() if isinstance(value, str)), "")
    tables = [f"- {name}: {value}\n" for name, value in found.items() if isinstance(value, str)]
    for name in chosen:
        reports = _run(name, QUICK if quick else FULL, console)
        tables += [f"\n{report.as_markdown()}" for report in reports]
        found["benchmarks"][name] = [report.as_json() for report in reports]
        if json_file:
            json_file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if markdown:
            above = markdown.read_text(encoding="utf-8").partition(RULE)[0]
            markdown.write_text(f"{above}{RULE}{''.join(tables)}", encoding="utf-8")


def _run(name: str, scale: Scale, console: Console) -> list[Report]:
    began = time.monotonic()
    try:
        reports = BENCHMARKS[name](scale)
    except CannotRunError as reason:
        reports = [Report(name, note=f"NOT RUN: {reason}")]
    for report in reports:
        report.print(console)
    console.print(f"[dim]{name} took {time.monotonic() - began:.0f} s[/]\n")
    return reports


app()
