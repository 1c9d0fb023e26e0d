"""How CDRs move between the lists of one lane."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final, Literal

from redis.commands.core import AsyncScript

from app.lane.parking import FailingRecord
from app.store.client import WAIT, Link
from app.store.keys import LaneKeys, Slot
from app.store.lease import Ownership

Side = Literal[1, -1]
HEAD: Final[Side] = 1
TAIL: Final[Side] = -1
"""Where LREM and LPOS search from: the near end, since a search costs as much as what it passes."""

EXCHANGES: Final = 4
"""At once, at most: where the network loses packets, four connections move several times what one does."""

CHANNELS: Final = EXCHANGES + 1

operation_numbers = count(1)
"""One sequence for the whole process: a slot that is lost and taken again must not meet its old numbers."""


@dataclass(frozen=True, slots=True)
class Ack:
    body: bytes
    side: Side
    failing_id: str
    """The webhook-id where the CDR has a failing record, else empty."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    acked: int
    claimed: list[bytes]
    refusal: str
    """Why claiming ended before it had to, else empty."""


@dataclass(frozen=True, slots=True)
class Distributed:
    given: int
    wants_more: bool
    refusal: str


class Queue:
    """The lists of one lane, as the owner of one slot sees them.

    Everything that is changed goes through a channel: one operation at a time, numbered, sent again until it
    is answered, and applied once. While `still` holds, all of them are idle.
    """

    def __init__(
        self, link: Link, ownership: Ownership, slot: Slot, keys: LaneKeys, oldest: Literal["head", "tail"]
    ) -> None:
        self._link = link
        self._ownership = ownership
        self._slot = slot
        self._keys = keys
        self._oldest = {"head": "LEFT", "tail": "RIGHT"}[oldest]
        self._channels: asyncio.LifoQueue[int] = asyncio.LifoQueue()
        for channel in range(CHANNELS):
            self._channels.put_nowait(channel)
        names = ("exchange", "bury", "take_back", "park", "adopt", "distribute")
        self._exchange, self._bury, self._take_back, self._park, self._adopt, self._distribute = (
            link.script("guard", name) for name in names
        )
        self._page = link.script("page")

    async def distribute(
        self, pendings: Sequence[str], takes: Sequence[bool], most: int, most_bytes: int, most_pending: int
    ) -> Distributed | None:
        """Give the oldest CDRs to every one of `pendings`. None: done, by a try whose reply was lost."""
        keys = [self._slot.processing, self._keys.pending, *pendings]
        args: list[bytes | str | int] = [self._oldest, most, most_bytes, most_pending, *map(int, takes)]
        reply = await self._apply("distribute", self._distribute, keys, args)
        if reply is None:
            return None
        self._link.note_refusal("distribute many", reply[2].decode())
        return Distributed(reply[0], bool(reply[1]), reply[2].decode())

    async def wait(self) -> bytes | None:
        """Claim one, and wait a little for it. Never to be cancelled: the CDR could have moved unseen."""
        lists = self._keys.pending, self._slot.processing
        async with self._channel():
            body: bytes | None = await self._link.call(
                "claim", lambda: self._link.blocking.blmove(*lists, WAIT, self._oldest, "RIGHT")
            )
            return body

    async def exchange(self, acks: Sequence[Ack], claims: int, most_bytes: int) -> Exchanged | None:
        """Ack and claim. None: applied, but the reply was lost, and with it what was claimed."""
        args: list[bytes | str | int] = [self._oldest, claims, most_bytes, len(acks)]
        for ack in acks:
            args += (ack.side, ack.body, ack.failing_id)
        keys = [self._slot.processing, self._keys.failing, self._keys.pending]
        reply = await self._apply("exchange", self._exchange, keys, args)
        if reply is not None and claims:
            self._link.note_refusal("claim many", reply[1].decode())
        return None if reply is None else Exchanged(reply[0], reply[2:], reply[1].decode())

    async def bury(self, body: bytes, side: Side, webhook_id: str, letter: bytes) -> bool | None:
        """Move one CDR to the dead letters; False: it was not there. None: done, by a try whose reply was lost."""
        keys = [self._slot.processing, self._keys.failing, self._keys.dead]
        moved: int | None = await self._apply("bury", self._bury, keys, [side, body, webhook_id, letter])
        return None if moved is None else bool(moved)

    async def take_back(self, letter: bytes, body: bytes, webhook_id: str, failing: FailingRecord) -> bool | None:
        """Move one CDR from the dead letters back to processing, parked; False, None: as for `bury`."""
        keys = [self._slot.processing, self._keys.failing, self._keys.dead]
        args: list[bytes | str | int] = [letter, body, webhook_id, failing.to_json()]
        moved: int | None = await self._apply("take back", self._take_back, keys, args)
        return None if moved is None else bool(moved)

    async def waiting(self) -> int:
        """Return how many CDRs are pending or in this processing list."""
        lists = (self._keys.pending, self._slot.processing)
        return sum([await self._link.persist("length", partial(self._link.commands.llen, key)) for key in lists])

    async def park(self, body: bytes, side: Side, webhook_id: str, failing: FailingRecord) -> None:
        keys = [self._slot.processing, self._keys.failing]
        await self._apply("park", self._park, keys, [side, body, webhook_id, failing.to_json()])

    async def adopt(self, orphan: Slot, owner: bytes, most: int) -> int:
        """Move up to `most` CDRs from the list of another slot to the end of ours, while that has still `owner`.

        Return how many were moved, or may have been.
        """
        keys = [self._slot.processing, orphan.owner, orphan.processing]
        adopted: int | None = await self._apply("adopt", self._adopt, keys, [most, owner])
        return most if adopted is None else adopted

    async def page(self, start: int, most: int, most_bytes: int) -> list[bytes]:
        args = [start, most, most_bytes]
        read: list[bytes] = await self._link.persist(
            "page", lambda: self._page(keys=[self._slot.processing], args=args)
        )
        return read

    async def failing(self, webhook_ids: Sequence[str]) -> list[FailingRecord | None]:
        if not webhook_ids:
            return []
        stored = await self._link.persist("failing", lambda: self._link.commands.hmget(self._keys.failing, webhook_ids))
        return [None if text is None else FailingRecord.from_json(text) for text in stored]

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Hold every channel: nothing that is ours moves, so what the list holds can be compared with what we know."""
        held = [await self._channels.get() for _ in range(CHANNELS)]
        try:
            yield
        finally:
            for channel in held:
                self._channels.put_nowait(channel)

    async def _apply(
        self, command: str, script: AsyncScript, keys: Sequence[str], args: Sequence[bytes | str | int]
    ) -> Any:
        async with self._channel() as channel:
            slot, owner = self._slot, self._ownership
            every_key = [slot.owner, slot.ops, *keys]
            every_arg = [owner.value, owner.lease_ms, channel, next(operation_numbers), *args]
            return await self._link.persist(command, lambda: script(keys=every_key, args=every_arg))

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[int]:
        channel = await self._channels.get()
        try:
            yield channel
        finally:
            self._channels.put_nowait(channel)
