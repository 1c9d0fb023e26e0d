"""Send numbered operations to Redis over a connection of its own."""

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Final, NamedTuple

import redis.exceptions as refusals
from hiredis import pack_command

from app.store.client import Link
from app.store.keys import Slot
from app.store.lease import Lease
from app.store.meaning import FOREIGN_ERRORS
from app.store.scripts import Script

CONNECT_DEADLINE: Final = 5.0
SLOWEST_LINK: Final = 64 * 1024
"""Bytes per second: on a slower link, large commands count as lost."""

Word = bytes | str | int | float
Holder = tuple[Lease, Slot]
"""Whose lease an operation needs, and on which slot of which lane."""

channel_numbers = count(1)
sequence_numbers = count(1)
"""One sequence for the whole process: a slot that is lost and taken again never meets its old numbers."""


class Applied(NamedTuple):
    """Says how an operation was applied. `sent_again`: whether a reply was lost, so that it was sent again.

    `reply`: None if the lost one was that of the try which was applied; then only the numbers of the settlements that
    it refused are known, `refused`, because the guard keeps them.
    """

    reply: Any
    refused: frozenset[int] = frozenset()
    sent_again: bool = False


class Channel:
    """Has one connection, and one operation at a time.

    A reply is lost after `patience` seconds *without progress*, so a large one may take long over a slow link.
    """

    def __init__(self, link: Link, patience: float, role: str = "") -> None:
        self._link = link
        self._patience = patience
        self._connection: Any = link.connection(role)
        self.number = next(channel_numbers)

    async def apply(
        self, script: Script, holder: Holder, keys: Sequence[str], args: Sequence[Word], weight: int = 0
    ) -> Applied:
        """Apply a guarded script once; go on until Redis answers. `weight`: bytes of the CDRs among `args`."""
        lease, slot = holder
        number, tries = next(sequence_numbers), 0

        async def send() -> Any:
            nonlocal tries
            tries += 1
            # The same number for each try: that is how a script knows that it was applied before.
            guards: list[Word] = [lease.value, lease.lease_ms, self.number, number]
            return await self.evaluate(script, [slot.owner, slot.ops, *keys], [*guards, *args], weight)

        reply = await self._link.persist(script.name, send)
        was_applied_before = reply is None or isinstance(reply, bytes)
        if was_applied_before and tries == 1:
            # The hash of operations holds a number that we never wrote there.
            self.number = next(channel_numbers)
            return await self.apply(script, holder, keys, args, weight)
        lease.note_applied(slot.ops, self.number, number)
        if was_applied_before:
            return Applied(None, frozenset(map(int, (reply or b"").split())), sent_again=True)
        return Applied(reply, sent_again=tries > 1)

    async def evaluate(self, script: Script, keys: Sequence[str], args: Sequence[Word], weight: int = 0) -> Any:
        """Run a script. Raises what redis-py raises."""
        words = (len(keys), *keys, *args)
        try:
            return await self.ask("EVALSHA", script.sha, *words, weight=weight)
        except refusals.NoScriptError:
            # Redis has restarted, or this is its first use. Each script is sent once, and then called by its SHA-1.
            await self.ask("SCRIPT", "LOAD", script.text)
            return await self.ask("EVALSHA", script.sha, *words, weight=weight)

    async def ask(self, *words: Word, weight: int = 0) -> Any:
        """Send one command and return its reply. Raises what redis-py raises, and TimeoutError."""
        patience = self._patience + weight / SLOWEST_LINK
        answered = False
        try:
            await self._connect()
            async with asyncio.timeout(patience):
                packed = pack_command(words)  # type: ignore[arg-type]  # its stub allows for one word
                await self._connection.send_packed_command(packed, check_health=False)
            reply = await self._reply(patience)
            answered = True
        except refusals.ResponseError:
            answered = True
            raise
        finally:
            if not answered:  # whatever comes now would be taken for the reply to the next command
                await self.disconnect()
        return reply

    async def disconnect(self) -> None:
        with suppress(*FOREIGN_ERRORS):
            await self._connection.disconnect(nowait=True)

    async def _connect(self) -> None:
        connection = self._connection
        # Bytes that nobody asked for would be taken for the reply to the next command.
        if connection.is_connected and (connection.should_reconnect() or await connection.can_read()):
            await self.disconnect()
        if not connection.is_connected:
            async with asyncio.timeout(CONNECT_DEADLINE):
                await connection.connect()

    async def _reply(self, patience: float) -> Any:
        received: Any = self._connection._parser  # noqa: SLF001 - it alone knows whether bytes arrive
        while True:
            before = received.reads
            try:
                async with asyncio.timeout(patience):
                    return await self._connection.read_response(timeout=math.inf, disconnect_on_error=False)
            except TimeoutError:
                if received.reads == before:
                    raise
