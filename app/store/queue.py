"""Move CDRs between the keys of one lane, as the owner of its slot."""

import time
from collections.abc import Sequence
from typing import Any, Final

import redis.exceptions as refusals

from app.store.budget import Budget
from app.store.channel import Channel, Word
from app.store.client import Link
from app.store.clock import RedisClock
from app.store.ends import ENDS
from app.store.exchange import Distributed, Exchanged, Settlement, Wanted
from app.store.keys import LaneKeys, Slot
from app.store.lease import Lease
from app.store.scripts import script

SETTLE_AND_CLAIM: Final = script("common", "guard", "settle_and_claim")
DISTRIBUTE: Final = script("common", "guard", "distribute")
ADOPT: Final = script("common", "guard", "adopt")
PUT_BACK: Final = script("common", "guard", "put_back")
PAGE: Final = script("page")

LOST: Final = (refusals.ConnectionError, refusals.TimeoutError, OSError)
"""What redis-py raises if no answer came."""

REFUSED: Final = "refused, and the reply that said why was lost"

PUTTING: Final = {"": "ack", "retry": "defer", "dead": "dead-letter", "pending": "give back"}


class Queue:
    """Moves CDRs of one lane for the owner of one slot. `horizon`: see `Timings`, in seconds."""

    def __init__(  # noqa: PLR0913 - what a lane's keys are reached with
        self,
        *,
        link: Link,
        lease: Lease,
        clock: RedisClock,
        slot: Slot,
        keys: LaneKeys,
        oldest: str,
        horizon: float,
    ) -> None:
        self.slot = slot
        self.keys = keys
        self._link = link
        self._holder = lease, slot
        self._clock = clock
        self._oldest = ENDS[oldest].claim
        self._claim = f"claim from {keys.pending}"
        self._horizon_ms = int(horizon * 1000)
        self._exchange_keys = [slot.processing, keys.pending, keys.retry, keys.retrying, keys.dead, slot.scratch]

    def channel(self) -> Channel:
        return Channel(self._link, self._link.timings.reply_patience)

    def waiting_channel(self) -> Channel:
        """Return the one for `wait`: its reply may take as long as the wait."""
        timings = self._link.timings
        return Channel(self._link, timings.claim_wait + timings.reply_patience, self._link.claim_role)

    async def wait(self, channel: Channel) -> bytes | None:
        """Claim one CDR, and wait a little for it. Raises our errors.

        Never cancel it: the CDR could have moved unseen.
        """
        # RIGHT: at the end of our list, so that the oldest stays at its head.
        words = (
            "BLMOVE",
            self.keys.pending,
            self.slot.processing,
            self._oldest,
            "RIGHT",
            self._link.timings.claim_wait,
        )
        body: bytes | None = await self._link.call(f"wait for {self.keys.pending}", lambda: channel.ask(*words))
        self._link.refused.type_is_right(self._claim)
        return body

    async def exchange(
        self, channel: Channel, settlements: Sequence[Settlement], wanted: Wanted, visibility: float
    ) -> Exchanged:
        """Settle and claim. `visibility`: seconds for which a CDR that is handed out is nobody else's."""
        early = "due" if wanted.early is None else wanted.early
        args: list[Word] = [self._oldest, wanted.new, wanted.most_bytes, wanted.deferred, int(visibility * 1000)]
        args += [early, self._horizon_ms, self._link.timings.long_list, len(settlements)]
        for one in settlements:
            args += (one.taken_from, one.moved_to, one.element, one.pushed, int(one.delay * 1000))
        weight = sum(one.weight for one in settlements)
        sent = time.monotonic()
        applied = await channel.apply(SETTLE_AND_CLAIM, self._holder, self._exchange_keys, args, weight)
        if applied.reply is None:
            numbers = range(1, 1 + len(settlements))
            results = [REFUSED if number in applied.refused else True for number in numbers]
            return Exchanged(results, sent_again=True, answered=False)
        if not applied.sent_again:
            self._clock.note(sent, time.monotonic(), applied.reply[0])
        done = self._exchanged(applied.reply, wanted, sent_again=applied.sent_again)
        self._tell_of_refusals(settlements, done.results)
        return done

    def _exchanged(self, reply: list[Any], wanted: Wanted, *, sent_again: bool) -> Exchanged:
        _, next_due, claim_refusal, hand_refusal, results, claimed, handed_out, pending, deferred = reply
        if wanted.new:  # an exchange that claims nothing says nothing of whether it may
            self._link.note_refusal(self._claim, claim_refusal.decode())
        self._link.note_refusal(f"hand out from {self.keys.retry}", hand_refusal.decode())
        return Exchanged(
            results=[one.decode() if isinstance(one, bytes) else bool(one) for one in results],
            sent_again=sent_again,
            answered=True,
            claimed=claimed,
            handed_out=handed_out,
            next_due=None if next_due < 0 else next_due / 1000,
            pending=pending,
            deferred=deferred,
            refused=bool(claim_refusal),
        )

    def _tell_of_refusals(self, settlements: Sequence[Settlement], results: Sequence[bool | str]) -> None:
        refusals: dict[str, str] = {}
        for one, result in zip(settlements, results, strict=True):
            refusals[one.moved_to] = result if isinstance(result, str) else refusals.get(one.moved_to, "")
        for place, refusal in refusals.items():
            self._link.note_refusal(f"{PUTTING[place]} {self.keys.endpoint or ''}".strip(), refusal)

    async def page(self, channel: Channel, most: int, budget: Budget) -> list[bytes]:
        """Return the first elements of our processing list; at least one where there is one."""

        async def send() -> list[bytes]:
            sent, size = time.monotonic(), budget.bytes
            try:
                read: list[bytes] = await channel.evaluate(PAGE, [self.slot.processing], [most, size])
            except LOST:
                budget.lost(size)
                raise
            budget.answered(sum(map(len, read)), sent)
            return read

        page: list[bytes] = await self._link.persist("page", send)
        return page

    async def put_back(self, channel: Channel, most: int, most_bytes: int) -> int | None:
        """Put all that stands in our processing list back to pending: only while nothing of it is in flight.

        Return how many were moved, or may have been; None if Redis refuses it.
        """
        keys = [self.slot.processing, self.keys.pending]
        reply = (await channel.apply(PUT_BACK, self._holder, keys, [self._oldest, most, most_bytes])).reply
        if reply is None:
            return most
        self._link.note_refusal(f"put back to {self.keys.pending}", reply[1].decode())
        return None if reply[1] else int(reply[0])

    async def adopt(self, channel: Channel, orphan: Slot, owner: bytes, most: int, most_bytes: int) -> int:
        """Move CDRs from the list of another slot to the end of ours, while it still has that `owner` value.

        Return how many were moved, or may have been.
        """
        keys = [self.slot.processing, orphan.owner, orphan.processing]
        reply = (await channel.apply(ADOPT, self._holder, keys, [most, most_bytes, owner])).reply
        # Applied by a try whose reply was lost: it may have moved as many as it was allowed to.
        return most if reply is None else int(reply)

    async def distribute(
        self, channel: Channel, lanes: Sequence[tuple[LaneKeys, str]], most: int, most_bytes: int, most_pending: int
    ) -> Distributed | None:
        """Give the oldest CDRs to every lane; each comes with `passing`, `probe` or `shut`.

        None: it was done by a try whose reply was lost.
        """
        keys = [self.slot.processing, self.keys.pending, self.keys.retry, self.keys.retrying, self.slot.scratch]
        keys += [key for lane, _ in lanes for key in (lane.pending, lane.retry)]
        args: list[Word] = [self._oldest, most, most_bytes, most_pending, *(mode for _, mode in lanes)]
        reply = (await channel.apply(DISTRIBUTE, self._holder, keys, args)).reply
        if reply is None:
            return None
        refusal = reply[2].decode()
        self._link.note_refusal("distribute", refusal)
        return Distributed(reply[0], bool(reply[1]), refusal)
