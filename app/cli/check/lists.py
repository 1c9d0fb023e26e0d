"""Check the lists in Redis, and who else uses them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from app.cli.check.finding import Finding, fail, ok, warn
from app.cli.check.redis import ACL_LINE
from app.config.settings import Settings
from app.errors import OperatorRedisError
from app.ops.status import DISTRIBUTED, LaneStatus, Status
from app.ops.survey import Survey
from app.store.client import Link
from app.store.keys import MOST_SLOTS, Topology
from app.store.leftovers import left_sources
from app.store.neighbours import integrators_on, poppers


async def of_lists(link: Link, settings: Settings) -> AsyncIterator[Finding]:
    """Yield the findings. Raises our errors if Redis is away, or denies us everything."""
    wrong = await _wrong_types(link, settings)
    for finding in wrong or [ok("keys: each is of its type")]:
        yield finding
    if wrong:
        return
    try:
        status = await Survey(link, settings).status(clients=False)
    except OperatorRedisError as error:
        yield fail(f"lists: cannot be read: {error}", f"grant it: {ACL_LINE}")
        return
    for finding in of_status(status, settings):
        yield finding
    for finding in await _left_sources(link, settings):
        yield finding
    for finding in await _others(link, settings):
        yield finding


def types(settings: Settings) -> dict[str, str]:
    """Return every key that we may use, and what it must be."""
    topology = Topology(settings.sources[0])
    wanted = {settings.sources[0].key: "list"}
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


async def _wrong_types(link: Link, settings: Settings) -> list[Finding]:
    wanted = types(settings)
    async with link.commands.pipeline(transaction=False) as pipeline:
        for key in wanted:
            pipeline.type(key)
        found: list[bytes] = await link.call("type", pipeline.execute)
    return [
        fail(f"keys: {key} is a {kind.decode()}, and must be a {wanted[key]}", "rename it, and find out who writes it")
        for key, kind in zip(wanted, found, strict=True)
        if kind.decode() not in {wanted[key], "none"}
    ]


def of_status(status: Status, settings: Settings) -> Iterator[Finding]:
    yield ok(f"source: {status.source} CDRs wait in {status.source_key}")
    yield from _owners(status, settings)
    for endpoint, number in status.left_over.items():
        yield warn(
            f"endpoint {endpoint}: it is not configured, and {number} CDRs wait for it",
            f"configure it again, or cdr-forwarder reroute {endpoint} {_any_endpoint(settings)}",
        )
    for lane in status.lanes:
        yield from _of_lane(lane)


async def _left_sources(link: Link, settings: Settings) -> list[Finding]:
    configured = [one.name for one in settings.sources]
    left = await left_sources(link, Topology(settings.sources[0]), configured)
    return [
        warn(
            f"source {name}: it is not configured, and {number} CDRs wait in its keys",
            f"configure it again, as CDR_SOURCES__{name.upper()}__KEY: then they are delivered",
        )
        for name, number in left.items()
    ]


def _owners(status: Status, settings: Settings) -> Iterator[Finding]:
    endpoints = sorted(one.name for one in settings.endpoints)
    for owner in status.owners:
        who = f"owners: {owner.host}:{owner.process}"
        if owner.source != settings.sources[0].key:
            yield fail(
                f"{who} takes from {owner.source}, and we from {settings.sources[0].key}",
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


def _of_lane(lane: LaneStatus) -> Iterator[Finding]:
    # What a single endpoint has left on the short keys is listed under its name.
    name = "webhook" if lane.endpoint == DISTRIBUTED else lane.endpoint
    if lane.dead:
        yield warn(
            f"endpoint {name}: {lane.dead} dead letters", f"see cdr-forwarder dead-letters list --endpoint {name}"
        )
    if lane.deferred.number and lane.endpoint != DISTRIBUTED:
        yield warn(
            f"endpoint {name}: {lane.deferred.number} CDRs have failed, and wait for another try",
            "they are tried again; what does the receiver say of them?",
        )


def _any_endpoint(settings: Settings) -> str:
    return settings.endpoints[0].name if len(settings.endpoints) == 1 else "<endpoint>"


async def _others(link: Link, settings: Settings) -> list[Finding]:
    """Find other clients that pop lists, such as an old BLPOP script. No forwarder ever sees what they take."""
    try:
        clients: list[dict[str, Any]] = await link.call("client list", link.commands.client_list)
    except OperatorRedisError as error:
        return [warn(f"clients: cannot tell who else takes from the source: {error}", f"grant it: {ACL_LINE}")]
    database = link.database
    others = integrators_on(clients, settings.sources[0].key, database) - {settings.integrator}
    found = [
        fail(f"clients: the forwarder of {other} takes from the same list", "each CDR reaches only one: stop one")
        for other in sorted(others)
    ]
    found += [
        warn(
            f"clients: {number} of {popper}",
            f"if that list is {settings.sources[0].key}, stop them: no forwarder sees what they take",
        )
        for popper, number in poppers(clients, database).items()
    ]
    return found or [ok("clients: nobody else takes from lists")]
