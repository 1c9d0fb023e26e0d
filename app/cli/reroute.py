"""Move what waits for an endpoint that is no longer configured to another one."""

from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any, Final

from app.cli.operation import Sources
from app.cli.terminal import progress, say
from app.errors import CommandError
from app.store.client import Link
from app.store.keys import LaneKeys, Topology
from app.store.leftovers import length
from app.store.operations import Operation, Operations
from app.store.owner import Owner
from app.store.patience import ask
from app.store.scripts import RunScript

PAGE: Final = 500


class Reroute:
    """Moves what is in the keys of `old` to the retry set of `new`, of one source."""

    def __init__(self, link: Link, old: str, new: str) -> None:
        topology = Topology(link.source)
        if new not in topology.endpoints:
            raise CommandError(f"{new} is not configured: CDRs can go to {', '.join(topology.endpoints)}")
        if topology.fans_out and old in topology.endpoints:
            raise CommandError(f"{old} is configured: it gets its CDRs itself; take it out of the configuration first")
        self._link = link
        self._old, self._new = old, new
        self._operations = Operations(link, topology)
        self._moved = 0
        self._from: LaneKeys = topology.named(old)
        self._to = topology.lane(new)
        self._slots = self._from.slots()
        self._scratch = f"{topology.scratch}:reroute"
        self._move = link.script("common", "unowned", "reroute")
        self._forget = link.script("common", "unowned", "forget")

    async def cdrs(self) -> dict[str, int]:
        """Return the keys and what waits in them, oldest first: what was claimed or has failed, then the rest."""
        keys = [*(slot.processing for slot in self._slots), self._from.retrying, self._from.retry, self._from.pending]
        return await self._lengths(keys)

    async def letters(self) -> dict[str, int]:
        """Return its dead letters."""
        return await self._lengths([self._from.dead])

    async def run(self) -> str:
        """Move all of it, page by page, and say how much. Raises CommandError if a live process has the endpoint."""
        cdrs, letters = await self.cdrs(), await self.letters()
        try:
            with progress("moved", sum(cdrs.values()) + sum(letters.values())) as advance:
                moved = [await self._drain(key, self._to.retry, "cdrs", advance) for key in cdrs]
                buried = [await self._drain(key, self._to.dead, "letters", advance) for key in letters]
        finally:
            await self._operations.leave(Operation("reroute", self._moved, self._old, self._new))
        # The lists are empty now. Their hashes of operations would otherwise stay for ever.
        await self._unowned("forget", self._forget, [slot.ops for slot in self._slots])
        return f"{sum(moved)} CDRs and {sum(buried)} dead letters moved from {self._old} to {self._new}"

    async def _drain(self, source: str, target: str, kind: str, advance: Any) -> int:
        moved = 0
        while page := await self._page(source, target, kind):
            moved += page
            self._moved += page
            advance(page)
        return moved

    async def _page(self, source: str, target: str, kind: str) -> int:
        keys = [self._scratch, source, target]
        # Tokens differ also when a page is sent again after a lost reply: it moves what follows, and twins stay two.
        return int(await self._unowned("reroute", self._move, keys, lambda: [PAGE, f"reroute-{token_hex(16)}", kind]))

    async def _unowned(
        self, command: str, script: RunScript, keys: Sequence[str], args: Callable[[], list[str | int]] = list
    ) -> Any:
        every_key = [*(slot.owner for slot in self._slots), *keys]
        guards: list[str | int] = [self._old, len(self._slots)]
        reply = await ask(self._link, command, lambda: script(keys=every_key, args=[*guards, *args()]))
        if isinstance(reply, bytes):
            raise CommandError(
                f"{self._old} is still an endpoint of a live process on {Owner.read(reply).host}: "
                "stop it, or give it the new configuration, and try again"
            )
        return reply

    async def _lengths(self, keys: Sequence[str]) -> dict[str, int]:
        found = {key: await length(self._link, key) for key in keys}
        return {key: number for key, number in found.items() if number}


async def reroute(sources: Sources, old: str, new: str) -> None:
    async def one(link: Link) -> None:
        say(sources.titled(link, await Reroute(link, old.lower(), new.lower()).run()))

    await sources.each(one)


async def rehearse_reroute(sources: Sources, old: str, new: str) -> None:
    """Say what would be moved, and move nothing."""

    async def one(link: Link) -> None:
        work = Reroute(link, old.lower(), new.lower())
        cdrs, letters = await work.cdrs(), await work.letters()
        for key, number in (cdrs | letters).items():
            say(sources.titled(link, f"{number} in {key}"))
        total = f"{sum(cdrs.values())} CDRs and {sum(letters.values())} dead letters of {old} would be moved to {new}"
        say(sources.titled(link, total))

    await sources.each(one)
