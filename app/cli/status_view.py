"""Show the status of a system."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from app.cli.terminal import Rows, console, joined, say_json, show
from app.config.settings import Settings
from app.ops.status import LaneStatus, Process, Status
from app.ops.survey import Survey
from app.ops.words import clock
from app.store.client import Link
from app.telemetry.printable import plain

LANES: Final = ("endpoint", "pending", "processing", "by slot", "retry", "retrying", "next due", "dead", "last hour")
NUMBERS: Final = ("pending", "processing", "retry", "retrying", "dead", "last hour", "slot", "lease left")
STYLES: Final = {"down": "bold red", "failing": "red", "held": "yellow", "retrying": "yellow", "unknown": "yellow"}


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
    now = datetime.now(UTC)
    parts: list[RenderableType] = [
        Text(plain(f"{found.source:,} CDRs in {found.source_key}, for {found.integrator}")),
        *(line for lane in found.lanes if (line := sentence(lane, now))),
        lanes_rows(found.lanes, now),
        owners_rows(found.owners, now)
        if found.owners
        else Text("No live forwarder: nothing takes from the source.", "bold red"),
    ]
    for endpoint, number in found.left_over.items():
        parts.append(Text(plain(f"{number} wait for {endpoint}, which is not configured: see reroute"), "yellow"))
    parts += [Text(plain(f"{other}."), "yellow") for other in found.other_clients]
    return parts


def sentence(lane: LaneStatus, now: datetime) -> Text | None:
    """Say how an endpoint is doing, and what its last answer was."""
    if lane.condition is None:
        return None
    last = lane.reported
    result = last.last_status or last.last_result
    answered = f" Last result: {result} at {clock(last.last_attempt_at, now)}." if result else ""
    return Text(plain(f"{lane.endpoint}: {lane.condition.words}.{answered}"), STYLES.get(lane.condition.state, ""))


def lanes_rows(lanes: list[LaneStatus], now: datetime) -> Rows:
    made = Rows(*LANES, numbers=NUMBERS)
    for lane in lanes:
        slots = joined(f"{slot}: {length}" for slot, length in lane.processing.items()) if lane.processing else ""
        deferred = lane.deferred
        made.add(
            *(lane.endpoint, lane.pending, sum(lane.processing.values()), slots),
            *(deferred.number - deferred.handed_out, deferred.handed_out),
            deferred.next_due and clock(deferred.next_due, now),
            *(lane.dead, lane.delivered if lane.condition else None),
        )
    return made


def owners_rows(owners: list[Process], now: datetime) -> Rows:
    made = Rows("process", "slot", "host", "version", "reported", "lease left", "endpoints", numbers=NUMBERS)
    for owner in owners:
        reported = owner.report.at and clock(owner.report.at, now)
        lease, endpoints = f"{owner.lease:.1f} s", joined(owner.endpoints)
        made.add(owner.process, owner.slot, owner.host, owner.report.version, reported, lease, endpoints)
    return made
