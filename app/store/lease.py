"""Which processing list is ours, and how we prove it."""

import asyncio
import json
import os
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from app.config.settings import Settings
from app.errors import ConfigurationError, FencedError, ForwarderError
from app.store.client import Link
from app.store.keys import MOST_SLOTS, Slot
from app.telemetry import events

TAKEN_AGAIN: Final = 2
RENEWALS_PER_LEASE: Final = 5
TRUSTED_PART: Final = 0.7
"""Of the lease, by our own monotonic clock, since a renewal was sent. Past it nothing is claimed."""


class Ownership:
    """One slot, and the lease on it, of this process."""

    def __init__(self, link: Link, process_id: str, settings: Settings) -> None:
        self._link = link
        self._slots = settings.slots()
        self._source = settings.source_key
        self._endpoints = sorted(endpoint.name for endpoint in settings.endpoints)
        self._lanes = self._endpoints if settings.fans_out else []
        self.lease = settings.lease
        self.value = json.dumps({"id": process_id, "source": self._source, "endpoints": self._endpoints}).encode()
        self.lease_ms = int(settings.lease * 1000)
        self.slot: Slot | None = None
        self._trusted_until = 0.0
        self._take = link.script("take")
        self._renew = link.script("renew")
        self._release = link.script("release")

    def holds(self) -> bool:
        return self.slot is not None and time.monotonic() < self._trusted_until

    async def take(self) -> Slot:
        """Take the lowest free slot; wait, loudly, while all have a live owner."""
        while True:
            owners = await self._owners()
            self._compare(owners)
            for slot, owner in zip(self._slots, owners, strict=True):
                if owner is None and await self._take_slot(slot):
                    self.slot = slot
                    events.slot_taken(slot.number, slot.processing)
                    return slot
            events.slot_awaited(MOST_SLOTS)
            await asyncio.sleep(self.lease / RENEWALS_PER_LEASE)

    async def keep(self) -> None:
        """Renew until cancelled. Raises FencedError when the slot has become somebody else's."""
        slot = self._held()
        while True:
            self._link.lease_doubted.clear()
            if not await self._renewed(slot):
                await self._retake(slot)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.lease / RENEWALS_PER_LEASE):
                    await self._link.lease_doubted.wait()

    async def release(self) -> None:
        """Give the lease back, so that nobody has to wait for its end."""
        slot, self.slot = self._held(), None
        await self._link.call("release", lambda: self._release(keys=[slot.owner], args=[self.value]))

    def _held(self) -> Slot:
        if self.slot is None:
            raise FencedError("no slot is held")
        return self.slot

    async def _owners(self) -> list[bytes | None]:
        keys = [slot.owner for slot in self._slots]
        owners: list[bytes | None] = await self._link.persist("owners", lambda: self._link.commands.mget(keys))
        return owners

    def _compare(self, owners: list[bytes | None]) -> None:
        for slot, owner in zip(self._slots, owners, strict=True):
            theirs = parsed(owner)
            if theirs.get("source", self._source) != self._source:
                raise ConfigurationError(
                    f"CDR_INTEGRATOR: {slot.owner} belongs to a live process that takes from "
                    f"{theirs['source']}, and this one from {self._source}; give each installation a name of its own"
                )
            if theirs.get("endpoints", self._endpoints) != self._endpoints:
                events.installation_differs(self._endpoints, theirs["endpoints"])

    async def _take_slot(self, slot: Slot) -> int:
        sent = time.monotonic()
        keys = [slot.owner, slot.ops, *(replace(slot, endpoint=lane).ops for lane in self._lanes)]
        taken = await self._link.persist("take", lambda: self._take(keys=keys, args=[self.value, self.lease_ms]))
        self._trust(sent if taken else 0.0)
        return int(taken)

    async def _renewed(self, slot: Slot) -> bool:
        while True:
            sent = time.monotonic()
            with suppress(ForwarderError):
                renewed = await self._link.call(
                    "renew", lambda: self._renew(keys=[slot.owner], args=[self.value, self.lease_ms])
                )
                self._trust(sent if renewed else 0.0)
                return bool(renewed)
            await asyncio.sleep(self.lease / RENEWALS_PER_LEASE / 4)

    async def _retake(self, slot: Slot) -> None:
        if await self._take_slot(slot) != TAKEN_AGAIN:
            events.slot_lost(slot.number)
            raise FencedError(f"{slot.processing} has had another owner")
        events.lease_expired(slot.number)

    def _trust(self, sent: float) -> None:
        self._trusted_until = sent + TRUSTED_PART * self.lease if sent else 0.0


def new_process_id() -> str:
    """Return an id that no other process has ever had, and that tells a person where this one runs."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


def has_lane(owner: bytes, endpoint: str | None) -> bool:
    """Tell whether a process holds the lists of that lane; those on the short keys are everybody's."""
    return bool(owner) and (endpoint is None or endpoint in parsed(owner).get("endpoints", [endpoint]))


def runs_here(owner: bytes | None) -> bool:
    return str(parsed(owner).get("id", "")).startswith(f"{socket.gethostname()}:")


def parsed(owner: bytes | None) -> dict[str, Any]:
    """Return what an owner wrote; nothing where it was not one of us."""
    with suppress(ValueError):
        value = json.loads(owner or b"{}")
        return value if isinstance(value, dict) else {}
    return {}
