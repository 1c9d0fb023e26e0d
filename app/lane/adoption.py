"""When a processing list is taken to have lost its owner, and its CDRs become ours."""

import time
from collections.abc import Iterable
from typing import Final

from app.store.client import Link
from app.store.keys import Slot, all_slots
from app.store.lease import has_lane
from app.store.queue import Queue
from app.telemetry import events

PAGE: Final = 64


class Adoption:
    """A look at all slots every half lease.

    A list must be seen without owner twice: after a Redis outage longer than the lease all leases are gone,
    and an eager neighbour would take what a live process is about to claim back.
    """

    def __init__(self, link: Link, queue: Queue, own: Slot, endpoint: str, lease: float) -> None:
        self._link = link
        self._queue = queue
        self._others = [slot for slot in all_slots(own.integrator, own.endpoint) if slot != own]
        self._endpoint = endpoint
        self._pause = lease / 2
        self._orphans_since: dict[Slot, float] = {}
        self._survey = link.script("survey")
        self.due_at = 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() >= self.due_at

    async def look(self) -> int:
        """Adopt a page of the first list that is due; return how many CDRs were adopted."""
        self.due_at = time.monotonic() + self._pause
        orphans = await self._orphans()
        for slot in self._note(orphans):
            if adopted := await self._queue.adopt(slot, orphans[slot], PAGE):
                events.cdrs_adopted(self._endpoint, slot.number, adopted)
                self.due_at = 0.0
                return adopted
        return 0

    async def _orphans(self) -> dict[Slot, bytes]:
        """Return each list that holds CDRs and nobody's, with the owner of its slot, who has no such lane."""
        keys = [key for slot in self._others for key in (slot.owner, slot.processing)]
        reply = await self._link.persist("survey", lambda: self._survey(keys=keys))
        owners, lengths = reply[::2], reply[1::2]
        slots = zip(self._others, owners, lengths, strict=True)
        return {slot: owner for slot, owner, length in slots if length and not has_lane(owner, slot.endpoint)}

    def _note(self, orphans: Iterable[Slot]) -> list[Slot]:
        seen = time.monotonic()
        self._orphans_since = {slot: self._orphans_since.get(slot, seen) for slot in orphans}
        return [slot for slot, since in self._orphans_since.items() if seen - since >= self._pause]
