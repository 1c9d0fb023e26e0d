"""Own one slot, and prove it with a lease."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from app.config.source import Source
from app.errors import ConfigurationError, FencedError, ForwarderError
from app.store.client import Link
from app.store.keys import MOST_SLOTS, Slot, Topology
from app.store.owner import Owner, owner_value
from app.telemetry import source_events
from app.telemetry.outages import Reminder

TAKEN_AGAIN: Final = 2
UNKNOWN: Final = 3
"""What `take` answers: nobody else had it in between; Redis knows of no owner before."""

RENEWALS_PER_LEASE: Final = 5
TRUSTED_PART: Final = 0.7
"""Part of the lease, by our own clock, since a renewal was sent. After it nothing is claimed or posted."""


class Lease:
    """Owns one slot for this process, with the lists of all its lanes."""

    def __init__(self, link: Link, process_id: str, source: Source, seconds: float) -> None:
        self._link = link
        self._topology = Topology(source)
        self.seconds = seconds
        self.lease_ms = int(seconds * 1000)
        self.value = owner_value(process_id, source, self.lease_ms)
        self.owner = Owner.read(self.value)
        self.slot: Slot | None = None
        self._trusted_until = 0.0
        self._last_applied: tuple[str, int, int] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._take, self._renew = link.script("take"), link.script("renew")
        self._release, self._survey = link.script("release"), link.script("survey")

    def holds(self) -> bool:
        return self.slot is not None and time.monotonic() < self._trusted_until

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the lease is held again. Workers wait for that, and nothing else may wake them."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    def note_applied(self, ops: str, channel: int, number: int) -> None:
        """Remember the last operation that Redis answered. If Redis later knows less, it has lost something."""
        self._last_applied = ops, channel, number

    async def take(self) -> Slot:
        """Take the lowest free slot. While all have a live owner, wait, and tell so."""
        reminder = Reminder(self._link.timings.reminder)
        while True:
            owners = await self.owners()
            self._refuse_another_source(owners)
            for slot, owner in owners.items():
                if not owner and await self._take_slot(slot):
                    self.slot, self._last_applied = (
                        slot,
                        None,
                    )  # that of a slot that was lost is forgotten by its new owner
                    source_events.slot_taken(slot.source, slot.number, slot.processing)
                    return slot
            if reminder.is_due():
                source_events.slot_awaited(self._topology.source, MOST_SLOTS)
            await asyncio.sleep(self.seconds / RENEWALS_PER_LEASE)

    async def keep(self) -> None:
        """Renew until cancelled. Raises FencedError when the slot has become somebody else's."""
        slot = self._held()
        while True:
            self._link.lease_doubted.clear()
            if not await self.renew(slot):
                await self.retake(slot)
            # A script that was fenced doubts the lease. Then look at once, and not at the next renewal.
            with suppress(TimeoutError):
                async with asyncio.timeout(self.seconds / RENEWALS_PER_LEASE):
                    await self._link.lease_doubted.wait()

    async def release(self) -> None:
        """Give the lease back, so that nobody has to wait for its end."""
        slot, self.slot = self._held(), None
        await self._link.call("release", lambda: self._release(keys=[slot.owner], args=[self.value]))

    async def owners(self) -> dict[Slot, bytes]:
        """Return the owner value of each slot, empty where there is none."""
        slots = self._topology.short.slots()
        keys = [key for slot in slots for key in (slot.owner, slot.processing)]
        reply = await self._link.persist("survey", lambda: self._survey(keys=keys, args=[self.lease_ms]))
        return dict(zip(slots, reply[::2], strict=True))

    def _held(self) -> Slot:
        if self.slot is None:
            raise FencedError("no slot is held")
        return self.slot

    def _refuse_another_source(self, owners: Mapping[Slot, bytes]) -> None:
        for slot, value in owners.items():
            source = Owner.read(value).source
            if source and source != self.owner.source:
                raise ConfigurationError(
                    f"CDR_INTEGRATOR: {slot.owner} belongs to a live process that takes from "
                    f"{source}, and this one from {self.owner.source}; give each installation a name of its own"
                )

    async def _take_slot(self, slot: Slot) -> int:
        # From before it is sent: Redis starts its count later, so we stop trusting the lease before it ends.
        sent = time.monotonic()
        lanes = [keys.slot(slot.number).ops for keys in self._topology.lanes.values()]
        keys = [slot.owner, *dict.fromkeys([slot.ops, *lanes])]
        taken = await self._link.persist("take", lambda: self._take(keys=keys, args=[self.value, self.lease_ms]))
        self._trust(sent if taken else 0.0)
        return int(taken)

    async def renew(self, slot: Slot) -> bool:
        """Renew the lease; return whether it is still ours. Goes on until Redis answers."""
        while True:
            sent, (ops, channel, number) = time.monotonic(), self._last_applied or (slot.ops, 0, 0)
            with suppress(ForwarderError):
                renewed, applied = await self._link.call(
                    "renew",
                    lambda: self._renew(keys=[slot.owner, ops], args=[self.value, self.lease_ms, channel]),  # noqa: B023 - called at once
                )
                self._trust(sent if renewed else 0.0)
                if renewed and _number(applied) < number:
                    self._tell_of_loss()
                return bool(renewed)
            # Sooner than the next renewal: while Redis fails, the lease is running out.
            await asyncio.sleep(self.seconds / RENEWALS_PER_LEASE / 4)

    async def retake(self, slot: Slot) -> None:
        """Take the slot again after the lease ended. Raises FencedError if another process had it meanwhile."""
        taken = await self._take_slot(slot)
        if taken == UNKNOWN:
            return self._tell_of_loss()
        if taken != TAKEN_AGAIN:
            source_events.slot_lost(slot.source, slot.number)
            raise FencedError(f"{slot.processing} has had another owner")
        source_events.lease_expired(slot.source, slot.number)
        return None

    def _tell_of_loss(self) -> None:
        self._last_applied = None
        source_events.redis_emptied(self._topology.source)

    def _trust(self, sent: float) -> None:
        held, self._trusted_until = self.holds(), sent + TRUSTED_PART * self.seconds if sent else 0.0
        if not held and self.holds():
            for listener in tuple(self._listeners):
                listener()


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
