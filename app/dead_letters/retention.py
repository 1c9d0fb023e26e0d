"""Drop dead letters that are past their age: they hold personal data, which some sites must not keep for ever."""

import asyncio
from datetime import timedelta

from app.dead_letters.lanes import stores
from app.dead_letters.selection import Selection
from app.dead_letters.store import DeadStore
from app.errors import ForwarderError
from app.store.client import Link
from app.store.keys import Topology
from app.telemetry import events


async def drop_expired(link: Link, topology: Topology, seconds: float) -> None:
    """Go on until cancelled; return at once where there is no limit (0 seconds).

    Every process does this; it does no harm if another one has dropped a letter first.
    """
    if not seconds:
        return
    age = timedelta(seconds=seconds)
    while True:
        for (_, endpoint), store in stores(link, topology.lanes).items():
            try:
                events.dead_letters_expired(topology.source, endpoint, await _drop(store, Selection(older_than=age)))
            except ForwarderError as error:  # the next look tries again: nothing else waits for this one
                events.dead_letters_kept(topology.source, endpoint, str(error))
        await asyncio.sleep(link.timings.expiry_look)


async def _drop(store: DeadStore, expired: Selection) -> int:
    """Drop from the oldest until the first that is young enough. A letter without a date is left for a person."""
    dropped = 0
    async for letter in store.letters():
        if expired.holds(letter):
            dropped += await store.drop(letter)
        elif letter.dead_at is not None:
            break  # those behind it died later
    return dropped
