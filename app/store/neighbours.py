"""Look at other processes that use our source, and tell what does not fit."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote

from app.errors import ForwarderError
from app.store.client import OURS, Link
from app.store.keys import Slot
from app.store.lease import Lease
from app.store.owner import Owner
from app.telemetry import source_events

POPS: Final = frozenset(
    {
        *("lpop", "rpop", "blpop", "brpop", "lmpop", "blmpop"),
        *("lmove", "blmove", "rpoplpush", "brpoplpush"),
    }
)


class Neighbours:
    """Looks every minute at the owners of all slots, and at connections that name our source."""

    def __init__(self, link: Link, lease: Lease) -> None:
        self.foreign_consumers = 0
        """How many other integrators' forwarders take from our source."""
        self.poppers = 0
        """How many clients that are no forwarders took from a list. Redis does not say from which."""
        self._link, self._lease = link, lease

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            for look in (self.compare, self.look_for_others):
                with suppress(ForwarderError):  # told by the link; a look that fails costs nothing
                    await look()
            await asyncio.sleep(self._link.timings.look)

    async def compare(self) -> None:
        """Tell which owners of our integrator have another configuration."""
        ours = self._lease.owner
        for slot, value in (await self._lease.owners()).items():
            if value and (theirs := Owner.read(value)).id != ours.id:
                self._tell(slot, ours, theirs)

    def _tell(self, slot: Slot, ours: Owner, theirs: Owner) -> None:
        if differences := differing(ours, theirs):
            source_events.installation_differs(slot.source, slot.number, theirs.host, differences)

    async def look_for_others(self) -> None:
        """Tell which other integrators take from our source."""
        clients = await self._link.call("client list", self._link.commands.client_list)
        others = integrators_on(clients, self._lease.owner.source, self._link.database)
        others.discard(self._link.source.integrator)
        self.foreign_consumers = len(others)
        self.poppers = poppers(clients, self._link.database).total()
        if others:
            source_events.source_shared(self._link.source.name, self._lease.owner.source, sorted(others))


def differing(ours: Owner, theirs: Owner) -> str:
    """Say in words how two configurations of one integrator differ; empty where they do not."""
    if not theirs.id or theirs.source != ours.source:
        return ""
    if theirs.names != ours.names or theirs.fans_out != ours.fans_out:
        return f"it has the endpoints {', '.join(theirs.names)}; this process has {', '.join(ours.names)}"
    urls = dict(theirs.endpoints)
    differing_urls = [name for name, fingerprint in ours.endpoints if urls[name] != fingerprint]
    return f"it has another URL for {', '.join(differing_urls)}" if differing_urls else ""


def integrators_on(clients: list[dict[str, Any]], source: str, database: str) -> set[str]:
    """Return the integrators whose forwarders are connected for this source, by the names of their connections."""
    found = set()
    for client in clients:
        ours, _, rest = str(client.get("name", "")).partition(":")
        integrator, _, rest = rest.partition(":")
        key, _, role = rest.partition(":")
        # A command that a person typed takes nothing from the source.
        takes = ours == OURS and unquote(key) == source and role != "command"
        if takes and str(client.get("db", "")) == database:
            found.add(integrator)
    return found


def poppers(clients: list[dict[str, Any]], database: str) -> Counter[str]:
    """Count the clients that took from a list last and are no forwarders, by where, who and how.

    An old BLPOP script is one of them. Redis tells the command of a client, but not its key.
    """
    return Counter(
        f"{client['addr'].rpartition(':')[0]} ({client['name'] or 'no name'}), not of ours, "
        f"took from a list ({client['cmd'].upper()})"
        for client in clients
        if client["cmd"] in POPS and client["db"] == database and not client["name"].startswith(f"{OURS}:")
    )
