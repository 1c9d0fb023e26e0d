"""Look at a running system from outside, as Redis knows it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from app.config.settings import Settings
from app.store.client import Link
from app.store.keys import LaneKeys, Slot, Topology
from app.store.lease import Owner
from app.store.leftovers import leftovers, length
from app.store.patience import ask

DISTRIBUTED: Final = "(all)"
"""In place of an endpoint: what is on its way to every lane."""


@dataclass(frozen=True)
class Deferred:
    """What waits for another try. `handed_out`: those of them that a process has now."""

    number: int
    handed_out: int
    next_due: datetime | None


@dataclass(frozen=True)
class LaneStatus:
    """`processing`: how many, by slot, where there are any. `pending`: None where CDRs are only distributed."""

    endpoint: str
    pending: int | None
    processing: dict[int, int]
    dead: int
    deferred: Deferred


@dataclass(frozen=True)
class Process:
    """A live process. `lease`: seconds that it has left."""

    slot: int
    host: str
    process: str
    lease: float
    source: str
    endpoints: list[str]


@dataclass(frozen=True)
class Status:
    """Everything that `status` shows."""

    integrator: str
    source_key: str
    source: int
    lanes: list[LaneStatus]
    owners: list[Process]
    left_over: dict[str, int]

    @property
    def parts(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        text = json.dumps(self, default=lambda part: part.isoformat() if isinstance(part, datetime) else vars(part))
        parts: dict[str, Any] = json.loads(text)
        return parts


class Survey:
    """Reads a part at a time, and nothing that grows with a backlog."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._topology = Topology(settings)
        self._slots = link.script("survey")

    async def status(self) -> Status:
        """Ask Redis. Raises our errors where it is away."""
        topology = self._topology
        found = [await self._lane(name, keys) for name, keys in topology.lanes.items()]
        if topology.fans_out:
            found.insert(0, await self._lane(DISTRIBUTED, topology.short))
        return Status(
            integrator=self._settings.integrator,
            source_key=topology.source_key,
            source=await length(self._link, topology.source_key),
            lanes=found,
            owners=[await self._process(slot, value) for slot, value in await self._owned()],
            left_over=dict(await leftovers(self._link, topology)),
        )

    async def _lane(self, name: str, keys: LaneKeys) -> LaneStatus:
        slots = keys.slots()
        surveyed = await self._survey(slots)
        lengths = {slot.number: length for slot, (_, length) in zip(slots, surveyed, strict=True) if length > 0}
        pending = None if name == DISTRIBUTED else await length(self._link, keys.pending)
        dead = await length(self._link, keys.dead)
        return LaneStatus(name, pending, lengths, dead, await self._deferred(keys))

    async def _survey(self, slots: Sequence[Slot]) -> list[tuple[bytes, int]]:
        keys = [key for slot in slots for key in (slot.owner, slot.processing)]
        args = [int(self._settings.lease * 1000)]
        reply = await ask(self._link, "survey", lambda: self._slots(keys=keys, args=args))
        return list(zip(reply[::2], reply[1::2], strict=True))

    async def _owned(self) -> list[tuple[Slot, bytes]]:
        slots = self._topology.short.slots()
        surveyed = await self._survey(slots)
        return [(slot, owner) for slot, (owner, _) in zip(slots, surveyed, strict=True) if owner]

    async def _process(self, slot: Slot, value: bytes) -> Process:
        left = await ask(self._link, "pttl", lambda: self._link.commands.pttl(slot.owner))
        owner = Owner.read(value)
        host, process, source = owner.host or "?", owner.id or "?", owner.source or "?"
        return Process(slot.number, host, process, max(0, left) / 1000, source, owner.names)

    async def _deferred(self, keys: LaneKeys) -> Deferred:
        handed_out = await length(self._link, keys.retrying)
        waiting = await length(self._link, keys.retry)
        if not waiting:
            return Deferred(handed_out, handed_out, None)
        first = await ask(self._link, "next due", lambda: self._link.commands.zrange(keys.retry, 0, 0, withscores=True))
        return Deferred(waiting + handed_out, handed_out, _time(first[0][1]) if first else None)


def _time(milliseconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
