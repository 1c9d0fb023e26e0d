"""Read the state of a running system from Redis."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from app.config.settings import Settings
from app.errors import ForwarderError
from app.ops.report import MOST_BYTES, MOST_TEXT, Report
from app.ops.status import DISTRIBUTED, Deferred, LaneStatus, Process, Status
from app.ops.words import Waiting, condition
from app.store.client import Link
from app.store.keys import LaneKeys, Slot, Topology
from app.store.leftover_sources import left_over_sources
from app.store.leftovers import leftovers, length
from app.store.minutes import HOUR, Minute, read_history
from app.store.neighbours import integrators_on, poppers
from app.store.owner import Owner
from app.store.patience import ask

MOST_ENDPOINTS: Final = 100
"""Shown of one owner: what is in Redis may be anybody's."""

Ask = Callable[[Link, str, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Sends a named command, as `ask` does."""


class Survey:
    """Reads one part at a time, and nothing whose size grows with a backlog.

    `own`: the report of the process that asks, if it is a forwarder; newer than what Redis has of it.
    """

    def __init__(self, link: Link, settings: Settings, ask: Ask = ask, own: Callable[[], Report] = Report) -> None:
        self._link = link
        self._settings = settings
        self._ask, self._own = ask, own
        self._topology = Topology(link.source)
        self._slots, self._reports = link.script("survey"), link.script("reports")
        self._sample, self._history = link.script("sample"), link.script("history")

    async def status(self, *, clients: bool = True) -> Status:
        """Ask Redis. Raises our errors where it is away. `clients`: whether to look for others that take CDRs."""
        topology = self._topology
        owners = await self.owners()
        lanes = await self.lanes(owners)
        if topology.fans_out:
            lanes.insert(0, await self._lane(DISTRIBUTED, topology.short, owners))
        return Status(
            integrator=self._settings.integrator,
            name=topology.source,
            place=self._link.place,
            source_key=topology.source_key,
            source=await length(self._link, topology.source_key),
            lanes=lanes,
            owners=owners,
            left_over=dict(await leftovers(self._link, topology)),
            left_over_sources=dict(await left_over_sources(self._link, self._settings.sources)),
            other_clients=await self._other_clients() if clients else [],
        )

    async def owners(self) -> list[Process]:
        """Return the live processes. Raises our errors."""
        return [await self._process(*found) for found in await self._owned()]

    async def lanes(self, owners: Sequence[Process]) -> list[LaneStatus]:
        """Return the lane of each endpoint. Raises our errors."""
        return [await self._lane(name, keys, owners) for name, keys in self._topology.lanes.items()]

    async def _other_clients(self) -> list[str]:
        try:
            clients = await self._link.call("client list", self._link.commands.client_list)
        except ForwarderError:  # all else is known; `check` says what is wrong
            return []
        source, database = self._topology.source_key, self._link.database
        rivals = sorted(integrators_on(clients, source, database) - {self._settings.integrator})
        return [
            *(f"The forwarder of {rival} takes from {source} too: stop one, each CDR reaches one" for rival in rivals),
            *(
                f"{number} of {popper}: if that list is {source}, stop them: no forwarder sees what they take"
                for popper, number in poppers(clients, database).items()
            ),
        ]

    async def _lane(self, name: str, keys: LaneKeys, owners: Sequence[Process]) -> LaneStatus:
        slots = keys.slots()
        surveyed = await self._survey(slots)
        processing = {slot.number: length for slot, (_, length) in zip(slots, surveyed, strict=True) if length > 0}
        pending, dead, deferred = await self._lengths(keys)
        reports = [owner.report.endpoints[name] for owner in owners if name in owner.report.endpoints]
        waiting = Waiting(pending, pending + sum(processing.values()) + deferred.number, deferred.number, dead)
        is_shared = name == DISTRIBUTED  # its pending list is the source
        return LaneStatus(
            endpoint=name,
            source=keys.source,
            condition=None if is_shared else condition(reports, waiting, datetime.now(UTC)),
            reports=reports,
            counted=waiting,
            pending=None if is_shared else pending,
            processing=processing,
            dead=dead,
            deferred=deferred,
            minutes=await self._minutes(keys),
        )

    async def _lengths(self, keys: LaneKeys) -> tuple[int, int, Deferred]:
        """Return how many are pending, how many are dead, and what is deferred."""
        names = [keys.pending, keys.slot(1).processing, keys.dead, keys.retry, keys.retrying]
        reply = await self._ask(self._link, "sample", lambda: self._sample(keys=names, args=[0]))
        pending, _, dead, retry, retrying, *_, due = reply
        return pending, dead, Deferred(retry + retrying, retrying, _time(due))

    async def _survey(self, slots: Sequence[Slot]) -> list[tuple[bytes, int]]:
        keys = [key for slot in slots for key in (slot.owner, slot.processing)]
        args = [int(self._settings.lease * 1000)]
        reply = await self._ask(self._link, "survey", lambda: self._slots(keys=keys, args=args))
        return list(zip(reply[::2], reply[1::2], strict=True))

    async def _owned(self) -> list[tuple[Slot, bytes, Report]]:
        slots = self._topology.short.slots()
        surveyed = await self._survey(slots)
        keys = [slot.report for slot in slots]
        reply = await self._ask(self._link, "reports", lambda: self._reports(keys=keys, args=[MOST_BYTES]))
        found = zip(slots, surveyed, map(Report.read, reply), strict=True)
        return [(slot, owner, report) for slot, (owner, _), report in found if owner]

    async def _process(self, slot: Slot, value: bytes, report: Report) -> Process:
        left = await self._ask(self._link, "pttl", lambda: self._link.commands.pttl(slot.owner))
        owner = Owner.read(value)
        host, process, source = (text[:MOST_TEXT] or "?" for text in (owner.host, owner.id, owner.source))
        names = [name[:MOST_TEXT] for name in owner.names[:MOST_ENDPOINTS]]
        known = [one for one in (self._own(), report) if one.id == owner.id]
        its = known[0] if known else Report()  # or it is of whoever had the slot before
        return Process(slot.number, host, process, max(0, left) / 1000, source, names, its)

    async def _minutes(self, keys: LaneKeys) -> list[Minute]:
        reply = await self._ask(self._link, "history", lambda: self._history(keys=[keys.minutes], args=[HOUR]))
        return read_history(reply)


def _time(milliseconds: bytes) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(milliseconds) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
