"""Show the status of a system."""

import asyncio
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from app.cli.status import Deferred, LaneStatus, Status, Survey
from app.cli.terminal import add, console, joined, plain, say_json, show, table
from app.config.settings import Settings
from app.store.client import Link

LANES: Final = ("endpoint", "pending", "processing", "by slot", "dead", "deferred", "next due")
NUMBERS: Final = ("pending", "processing", "dead", "deferred", "slot", "lease left")


async def status(link: Link, settings: Settings, *, as_json: bool) -> None:
    found = await Survey(link, settings).status()
    if as_json:
        say_json(found.parts)
    else:
        show(*rendered(found))


async def watch(link: Link, settings: Settings, every: float, *, as_json: bool) -> None:
    """Go on until Ctrl-C; as JSON, one object a line each time."""
    survey = Survey(link, settings)
    if as_json or not console().is_terminal:
        while True:
            say_json((await survey.status()).parts)
            await asyncio.sleep(every)
    with Live(console=console(), auto_refresh=False) as live:
        while True:
            live.update(Group(*rendered(await survey.status())), refresh=True)
            await asyncio.sleep(every)


def rendered(found: Status) -> list[RenderableType]:
    parts: list[RenderableType] = [
        Text(plain(f"{found.source} CDRs in {found.source_key}, for {found.integrator}")),
        lanes_table(found.lanes),
        owners_table(found) if found.owners else Text("No live forwarder: nothing takes from the source.", "bold red"),
    ]
    for endpoint, number in found.left_over.items():
        parts.append(Text(plain(f"{number} wait for {endpoint}, which is not configured: see reroute"), "yellow"))
    return parts


def lanes_table(lanes: list[LaneStatus]) -> RenderableType:
    made = table(*LANES, numbers=NUMBERS)
    for lane in lanes:
        slots = joined(f"{slot}: {length}" for slot, length in lane.processing.items()) if lane.processing else ""
        claimed = sum(lane.processing.values())
        add(made, lane.endpoint, lane.pending, claimed, slots, lane.dead, *deferred_cells(lane.deferred))
    return made


def deferred_cells(deferred: Deferred) -> list[Any]:
    return [deferred.number, deferred.next_due and deferred.next_due.strftime("%Y-%m-%d %H:%M:%SZ")]


def owners_table(found: Status) -> RenderableType:
    made = table("slot", "host", "process", "lease left", "endpoints", numbers=NUMBERS)
    for owner in found.owners:
        add(made, owner.slot, owner.host, owner.process, f"{owner.lease:.1f} s", joined(owner.endpoints))
    return made
