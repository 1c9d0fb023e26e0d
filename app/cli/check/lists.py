"""Check the lists in Redis, and who else uses them."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from app.cli.check.finding import Finding, fail, ok, warn
from app.cli.check.redis import ACL_LINE
from app.config.settings import Settings
from app.config.source import Source
from app.dead_letters.lanes import DEFAULT_NAME
from app.errors import OperatorRedisError
from app.ops.status import DISTRIBUTED, LaneStatus, Status
from app.ops.survey import Survey
from app.store.client import Link
from app.store.keys import MOST_SLOTS, Topology
from app.store.minutes import A_DAY, read_history
from app.store.neighbours import integrators_on, poppers
from app.store.patience import ask


async def of_lists(link: Link, settings: Settings) -> AsyncIterator[Finding]:
    """Yield the findings about one source. Raises our errors if Redis is away, or denies us everything."""
    wrong = await _wrong_types(link)
    for finding in wrong or [ok("keys: each is of its type")]:
        yield finding
    if wrong:
        return
    try:
        status = await Survey(link, settings).status(clients=False)
        named = len(settings.sources) > 1
        never = named and not await was_seen(link, status)
    except OperatorRedisError as error:
        yield fail(f"lists: cannot be read: {error}", f"grant it: {ACL_LINE}")
        return
    for finding in of_status(status, link.source, named=named, never=never):
        yield finding
    for finding in await _others(link):
        yield finding


def types(source: Source) -> dict[str, str]:
    """Return every key of a source that we may use, and what it must be."""
    topology = Topology(source)
    wanted = {source.key: "list"}
    for keys in [topology.short, *topology.lanes.values()]:
        wanted |= {
            keys.pending: "list",
            keys.dead: "list",
            keys.retry: "zset",
            keys.retrying: "zset",
            keys.minutes: "hash",
        }
        for slot in keys.slots():
            wanted |= {slot.processing: "list", slot.ops: "hash", slot.owner: "string", slot.report: "string"}
    return wanted


async def _wrong_types(link: Link) -> list[Finding]:
    wanted = types(link.source)
    async with link.commands.pipeline(transaction=False) as pipeline:
        for key in wanted:
            pipeline.type(key)
        found: list[bytes] = await link.call("type", pipeline.execute)
    return [
        fail(f"keys: {key} is a {kind.decode()}, and must be a {wanted[key]}", "rename it, and find out who writes it")
        for key, kind in zip(wanted, found, strict=True)
        if kind.decode() not in {wanted[key], "none"}
    ]


async def was_seen(link: Link, status: Status) -> bool:
    """Tell whether there is a sign that the list exists: CDRs, or work of the last day. An empty one leaves none."""
    lanes = status.lanes
    if status.source or any(lane.counted.all or lane.dead or _has_worked(lane) for lane in lanes):
        return True
    topology, history = Topology(link.source), link.script("history")
    for keys in [topology.short, *topology.lanes.values()]:
        reply = await ask(link, "history", partial(history, keys=[keys.minutes], args=[A_DAY]))
        if any(one.delivered or one.failed or one.backlog for one in read_history(reply)):
            return True
    return False


def _has_worked(lane: LaneStatus) -> bool:
    return any(report.claimed for report in lane.reports)


def of_status(status: Status, source: Source, *, named: bool, never: bool) -> Iterator[Finding]:
    """Judge the status of a source. `named`: there are others. `never`: there is no sign of its list."""
    if never:
        yield warn(
            f"source: {status.source_key} is not there, and there is no sign that it ever was",
            "is that its name? Redis removes an empty list, so one that Enigma has not written yet looks the same",
        )
    else:
        yield ok(f"source: {status.source} CDRs wait in {status.source_key}")
    yield from _owners(status, source)
    yield from _left_over(status, source, named=named)
    for lane in status.lanes:
        yield from _of_lane(lane, named=named)


def _left_over(status: Status, source: Source, *, named: bool) -> Iterator[Finding]:
    only, here = (f" --source {source.name}", " for this source") if named else ("", "")
    target = source.endpoints[0].name if len(source.endpoints) == 1 else "<endpoint>"
    for endpoint, number in status.left_over.items():
        yield warn(
            f"endpoint {endpoint}: it is not configured{here}, and {number} CDRs wait for it",
            f"configure it again{here}, or cdr-forwarder reroute {endpoint} {target}{only}",
        )
    for name, number in status.left_over_sources.items():
        yield warn(
            f"keys: {number} CDRs are in those of a source {name}, which is not configured",
            f"give a source that name, with its list, until they are delivered: CDR_SOURCES__{name.upper()}__KEY",
        )


def _owners(status: Status, source: Source) -> Iterator[Finding]:
    endpoints = sorted(one.name for one in source.endpoints)
    for owner in status.owners:
        who = f"owners: {owner.host}:{owner.process}"
        if owner.source != source.key:
            yield fail(
                f"{who} takes from {owner.source}, and we from {source.key}",
                "give each installation a CDR_INTEGRATOR of its own",
            )
        elif owner.endpoints != endpoints:
            yield warn(
                f"{who} has the endpoints {', '.join(owner.endpoints)}, and we {', '.join(endpoints)}",
                "normal while a change is rolled out; otherwise give all the same configuration",
            )
    if status.owners:
        yield ok(f"owners: {len(status.owners)} of {MOST_SLOTS} slots have a live forwarder")
    else:
        yield warn("owners: no live forwarder: nothing takes from the source", "start one: cdr-forwarder run")


def _of_lane(lane: LaneStatus, *, named: bool) -> Iterator[Finding]:
    # What a single endpoint has left on the short keys is listed under its name.
    name = DEFAULT_NAME if lane.endpoint == DISTRIBUTED else lane.endpoint
    if lane.dead:
        only = f"--endpoint {name}" + (f" --source {lane.source}" if named else "")
        yield warn(f"endpoint {name}: {lane.dead} dead letters", f"see cdr-forwarder dead-letters list {only}")
    if lane.deferred.number and lane.endpoint != DISTRIBUTED:
        yield warn(
            f"endpoint {name}: {lane.deferred.number} CDRs have failed, and wait for another try",
            "they are tried again; what does the receiver say of them?",
        )


async def _others(link: Link) -> list[Finding]:
    """Find other clients that pop lists, such as an old BLPOP script. No forwarder ever sees what they take."""
    try:
        clients: list[dict[str, Any]] = await link.call("client list", link.commands.client_list)
    except OperatorRedisError as error:
        return [warn(f"clients: cannot tell who else takes from the source: {error}", f"grant it: {ACL_LINE}")]
    database, source = link.database, link.source
    others = integrators_on(clients, source.key, database) - {source.integrator}
    found = [
        fail(f"clients: the forwarder of {other} takes from the same list", "each CDR reaches only one: stop one")
        for other in sorted(others)
    ]
    found += [
        warn(
            f"clients: {number} of {popper}",
            f"if that list is {source.key}, stop them: no forwarder sees what they take",
        )
        for popper, number in poppers(clients, database).items()
    ]
    return found or [ok("clients: nobody else takes from lists")]
