"""Show the status of a system."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from app.cli.operation import Sources, explained
from app.cli.terminal import Rows, console, joined, say_json, show
from app.errors import CommandError, OperatorRedisError, TransientRedisError
from app.ops.status import LaneStatus, Process, Status
from app.ops.survey import Survey
from app.ops.words import clock
from app.store.client import Link
from app.telemetry.printable import plain

SOURCE: Final = "source"
LANES: Final = ("endpoint", "pending", "processing", "by slot", "retry", "retrying", "next due", "dead", "last hour")
OWNERS: Final = ("process", "slot", "host", "version", "reported", "lease left", "endpoints")
NUMBERS: Final = ("pending", "processing", "retry", "retrying", "dead", "last hour", "slot", "lease left")
STYLES: Final = {"down": "bold red", "failing": "red", "held": "yellow", "retrying": "yellow", "unknown": "yellow"}


@dataclass(frozen=True)
class Unread:
    """Says why the status of a source is not known."""

    name: str
    place: str
    error: str


Look = Status | Unread


async def status(sources: Sources, *, as_json: bool) -> None:
    """Show each source. Raises CommandError where one cannot be read, after all others are shown."""
    found = await look(sources)
    if as_json:
        say_json(parts(found, sources))
    else:
        show(*rendered(found))
    if unread := [one.name for one in found if isinstance(one, Unread)]:
        raise CommandError(f"not all is known: {joined(unread)} cannot be read")


async def watch(sources: Sources, every: float, *, as_json: bool) -> None:
    """Go on until Ctrl-C; as JSON, one object a line each time."""
    if as_json or not console().is_terminal:
        while True:
            say_json(parts(await look(sources), sources))
            await asyncio.sleep(every)
    with Live(console=console(), auto_refresh=False) as live:
        while True:
            live.update(Group(*rendered(await look(sources))), refresh=True)
            await asyncio.sleep(every)


async def look(sources: Sources) -> Sequence[Look]:
    """Return the status of each source, all at once: one that does not answer delays none. Raises if there is none."""

    async def one(link: Link) -> Look:
        try:
            return await Survey(link, sources.settings).status()
        except (OperatorRedisError, TransientRedisError) as error:
            return Unread(link.source.name, link.place, sources.titled(link, explained(error, link)))

    found = await asyncio.gather(*map(one, sources.links))
    if all(isinstance(each, Unread) for each in found):
        raise CommandError("\n".join(each.error for each in found if isinstance(each, Unread)))
    return found


def parts(found: Sequence[Look], sources: Sources) -> dict[str, Any]:
    """Return it as plain values, for JSON: of several sources, a list of what one alone shows."""
    [first, *others] = found
    if isinstance(first, Status) and not others:
        return first.parts
    named = [
        {"source": one.name, "redis_url": one.place}
        | ({"error": one.error} if isinstance(one, Unread) else {"error": None, **one.parts})
        for one in found
    ]
    return {"integrator": sources.settings.integrator, "sources": named}


def rendered(found: Sequence[Look]) -> list[RenderableType]:
    now, several = datetime.now(UTC), len(found) > 1
    known = [one for one in found if isinstance(one, Status)]
    lanes = [lane for one in known for lane in one.lanes]
    owners = [(one.name, owner) for one in known for owner in one.owners]
    sentences = [line for lane in lanes if (line := sentence(lane, now, several=several))]
    return [
        *(heading(one, several=several) for one in found),
        *sentences,
        lanes_rows(lanes, now, several=several),
        *([owners_rows(owners, now, several=several)] if owners else []),
        *(line for one in known for line in warnings(one, several=several)),
    ]


def heading(found: Look, *, several: bool) -> Text:
    if isinstance(found, Unread):
        return Text(plain(found.error), "bold red")
    if several:
        return Text(plain(f"source {found.name}: {found.source:,} CDRs in {found.source_key}, at {found.place}"))
    return Text(plain(f"{found.source:,} CDRs in {found.source_key}, for {found.integrator}"))


def sentence(lane: LaneStatus, now: datetime, *, several: bool) -> Text | None:
    """Say how an endpoint is doing, and what its last answer was."""
    if lane.condition is None:
        return None
    last = lane.reported
    result = last.last_status or last.last_result
    answered = f" Last result: {result} at {clock(last.last_attempt_at, now)}." if result else ""
    name = f"{lane.endpoint}, from {lane.source}" if several else lane.endpoint
    return Text(plain(f"{name}: {lane.condition.words}.{answered}"), STYLES.get(lane.condition.state, ""))


def warnings(found: Status, *, several: bool) -> Iterator[Text]:
    title = f"source {found.name}: " if several else ""
    if not found.owners:
        nobody = (
            "no live forwarder: nothing takes from it"
            if several
            else "No live forwarder: nothing takes from the source"
        )
        yield Text(plain(f"{title}{nobody}."), "bold red")
    here = " for this source" if several else ""
    for endpoint, number in found.left_over.items():
        yield Text(plain(f"{title}{number} wait for {endpoint}, which is not configured{here}: see reroute"), "yellow")
    for source, number in found.left_over_sources.items():
        yield Text(plain(f"{number} wait in the keys of source {source}, which is not configured: see check"), "yellow")
    for other in found.other_clients:
        yield Text(plain(f"{title}{other}."), "yellow")


def lanes_rows(lanes: Sequence[LaneStatus], now: datetime, *, several: bool) -> Rows:
    made = Rows(*(LANES[0], *([SOURCE] if several else []), *LANES[1:]), numbers=NUMBERS)
    for lane in lanes:
        slots = joined(f"{slot}: {length}" for slot, length in lane.processing.items()) if lane.processing else ""
        deferred = lane.deferred
        made.add(
            *(lane.endpoint, *([lane.source] if several else [])),
            *(lane.pending, sum(lane.processing.values()), slots),
            *(deferred.number - deferred.handed_out, deferred.handed_out),
            deferred.next_due and clock(deferred.next_due, now),
            *(lane.dead, lane.delivered if lane.condition else None),
        )
    return made


def owners_rows(owners: Sequence[tuple[str, Process]], now: datetime, *, several: bool) -> Rows:
    made = Rows(*(OWNERS[0], *([SOURCE] if several else []), *OWNERS[1:]), numbers=NUMBERS)
    for source, owner in owners:
        reported = owner.report.at and clock(owner.report.at, now)
        lease, endpoints = f"{owner.lease:.1f} s", joined(owner.endpoints)
        named = (owner.process, source) if several else (owner.process,)
        made.add(*named, owner.slot, owner.host, owner.report.version, reported, lease, endpoints)
    return made
