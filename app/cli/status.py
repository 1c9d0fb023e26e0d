"""What a running system looks like from outside, as Redis knows it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.config.settings import Settings
from app.lane.parking import FailingRecord
from app.store.client import Link
from app.store.keys import LaneKeys, Slot
from app.store.lease import parsed
from app.store.leftovers import leftovers
from app.store.patience import ask

MOST_FAILING: Final = 10_000
"""Records that are looked at, of each lane; that there are more is said."""

PAGE: Final = 500

DISTRIBUTED: Final = "(all)"
"""In place of an endpoint: what is on its way to every lane."""


@dataclass(frozen=True)
class Failing:
    number: int
    oldest_first_failed_at: datetime | None
    next_try: datetime | None
    looked_at: int


@dataclass(frozen=True)
class LaneStatus:
    """`processing`: how many, by slot, where there are any. `pending`: None where CDRs are only distributed."""

    endpoint: str
    pending: int | None
    processing: dict[int, int]
    dead: int
    failing: Failing


@dataclass(frozen=True)
class Owner:
    """A live process. `lease`: seconds that it has left."""

    slot: int
    host: str
    process: str
    lease: float
    source: str
    endpoints: list[str]


@dataclass(frozen=True)
class Status:
    integrator: str
    source_key: str
    source: int
    lanes: list[LaneStatus]
    owners: list[Owner]
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
        self._slots = link.script("survey")

    async def status(self) -> Status:
        settings = self._settings
        lanes = {one.name: settings.lane_keys(one.name) for one in settings.endpoints}
        found = [await self._lane(name, keys, settings.slots(name)) for name, keys in lanes.items()]
        if settings.fans_out:
            found.insert(0, await self._lane(DISTRIBUTED, settings.base_keys, settings.slots()))
        return Status(
            integrator=settings.integrator,
            source_key=settings.source_key,
            source=await self._length(settings.source_key),
            lanes=found,
            owners=[await self._owner(slot, value) for slot, value in await self._owned()],
            left_over=dict(await leftovers(self._link, settings)),
        )

    async def _lane(self, name: str, keys: LaneKeys, slots: Sequence[Slot]) -> LaneStatus:
        surveyed = await self._survey(slots)
        lengths = {slot.number: length for slot, (_, length) in zip(slots, surveyed, strict=True) if length}
        pending = None if name == DISTRIBUTED else await self._length(keys.pending)
        dead = await self._length(keys.dead)
        return LaneStatus(name, pending, lengths, dead, await self._failing(keys.failing))

    async def _survey(self, slots: Sequence[Slot]) -> list[tuple[bytes, int]]:
        keys = [key for slot in slots for key in (slot.owner, slot.processing)]
        reply = await ask(self._link, "survey", lambda: self._slots(keys=keys))
        return list(zip(reply[::2], reply[1::2], strict=True))

    async def _owned(self) -> list[tuple[Slot, bytes]]:
        slots = self._settings.slots()
        surveyed = await self._survey(slots)
        return [(slot, owner) for slot, (owner, _) in zip(slots, surveyed, strict=True) if owner]

    async def _owner(self, slot: Slot, value: bytes) -> Owner:
        left = await ask(self._link, "pttl", lambda: self._link.commands.pttl(slot.owner))
        theirs = parsed(value)
        host, _, process = str(theirs.get("id", "?")).partition(":")
        endpoints = theirs.get("endpoints")
        named = [str(name) for name in endpoints] if isinstance(endpoints, list) else []
        return Owner(slot.number, host, process, max(0, left) / 1000, str(theirs.get("source", "?")), named)

    async def _length(self, key: str) -> int:
        return int(await ask(self._link, "length", lambda: self._link.commands.llen(key)))

    async def _failing(self, key: str) -> Failing:
        number = int(await ask(self._link, "failing", lambda: self._link.commands.hlen(key)))
        first: datetime | None = None
        following: datetime | None = None
        cursor, looked_at = 0, 0
        while looked_at < min(number, MOST_FAILING):
            cursor, page = await self._failing_page(key, cursor)
            looked_at += len(page)
            for record in page:
                first = min(filter(None, (first, record.first_failed_at)))
                following = min(filter(None, (following, record.next_try)))
            if not cursor:
                break
        return Failing(number, first, following, looked_at)

    async def _failing_page(self, key: str, cursor: int) -> tuple[int, list[FailingRecord]]:
        read = await ask(self._link, "failing", lambda: self._link.commands.hscan(key, cursor, count=PAGE))
        return read[0], [FailingRecord.from_json(text) for text in read[1].values()]
