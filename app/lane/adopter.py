"""Take over the CDRs of processing lists whose owner is gone."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable

from app.lane.incoming import Incoming
from app.store.client import Link
from app.store.keys import LaneKeys, Slot
from app.store.lease import Lease
from app.store.owner import Owner
from app.store.queue import Queue
from app.telemetry import events, source_events


class Adopter:
    """Looks at all slots every half lease, and moves orphans to the end of our own list, a page at a time.

    A list must be seen without owner twice: after a Redis outage longer than the lease all leases are gone, and an
    eager neighbour would empty a list whose live owner is about to take its lease again. `may_adopt`: whether no sweep
    is due for what was adopted before; `on_adopted`: called with the number of CDRs in each page.
    """

    def __init__(  # noqa: PLR0913 - it stands between the slots and one lane, or distribution
        self,
        *,
        link: Link,
        lease: Lease,
        queue: Queue,
        keys: LaneKeys,
        incoming: Incoming,
        may_adopt: Callable[[], bool],
        on_adopted: Callable[[int], None],
        stopping: asyncio.Event,
    ) -> None:
        self.name = keys.endpoint or "all"
        self._source = keys.source
        self._link, self._lease, self._queue = link, lease, queue
        self._others = [slot for slot in keys.slots() if slot != queue.slot]
        self._incoming, self._may_adopt, self._on_adopted = incoming, may_adopt, on_adopted
        self._channel, self._stopping = queue.channel(), stopping
        self._pause = lease.seconds / 2
        self._orphans_since: dict[Slot, float] = {}
        self._looked = -math.inf
        self._wrong: set[str] = set()
        self._survey = link.script("survey")

    async def run(self) -> None:
        """Go on until a stop is asked for."""
        while not self._stopping.is_set():
            adopted = await self.look() if self._lease.holds() and self._may_adopt() else 0
            pause = self._link.timings.full_pause if adopted else self._pause
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            except TimeoutError:
                pass

    async def look(self) -> int:
        """Adopt a page of the first list that was an orphan for long enough; return how many CDRs."""
        began = time.monotonic()
        orphans = await self._orphans()
        # A look that waited for Redis: since the one before, a list may have had an owner, and lost it.
        if time.monotonic() - self._looked >= self._lease.seconds:
            self._orphans_since.clear()
        self._looked = began
        for slot in self._due(orphans):
            if moved := await self._adopt(slot, orphans[slot]):
                events.cdrs_adopted(self._source, self.name, slot.number, moved)
                return moved
        return 0

    async def _adopt(self, slot: Slot, owner: bytes) -> int:
        timings = self._link.timings
        with self._incoming.expected():
            moved = await self._queue.adopt(self._channel, slot, owner, timings.adopted, timings.exchange_bytes)
            self._on_adopted(moved)
        return moved

    async def _orphans(self) -> dict[Slot, bytes]:
        """Return the slots whose list holds CDRs but belongs to nobody, each with its owner value.

        That is empty, or the value of a process without this lane.
        """
        keys = [key for slot in self._others for key in (slot.owner, slot.processing)]
        args = [self._lease.lease_ms]
        reply = await self._link.persist("survey", lambda: self._survey(keys=keys, args=args))
        found = dict(zip(self._others, zip(reply[::2], reply[1::2], strict=True), strict=True))
        self._tell_of_wrong_types({slot.processing for slot, (_, length) in found.items() if length < 0})
        return {
            slot: owner
            for slot, (owner, length) in found.items()
            if length > 0 and not Owner.read(owner).has_lane(slot.endpoint)
        }

    def _tell_of_wrong_types(self, keys: set[str]) -> None:
        for key in keys - self._wrong:
            source_events.key_has_wrong_type(self._source, key, "list")
        self._wrong = keys

    def _due(self, orphans: Iterable[Slot]) -> list[Slot]:
        seen = time.monotonic()
        self._orphans_since = {slot: self._orphans_since.get(slot, seen) for slot in orphans}
        return [slot for slot, since in self._orphans_since.items() if seen - since >= self._pause]
