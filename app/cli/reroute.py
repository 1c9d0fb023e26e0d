"""How what waits for an endpoint that is no longer configured gets to another one."""

from collections.abc import Sequence
from typing import Any, Final

from redis.commands.core import AsyncScript

from app.cli.terminal import progress, say
from app.config.settings import Settings
from app.errors import CommandError
from app.store.client import Link
from app.store.keys import LaneKeys, all_slots, pending_of
from app.store.lease import parsed
from app.store.patience import ask

PAGE: Final = 500


class Reroute:
    """The lists of `old`, on their way to the pending list of `new`."""

    def __init__(self, link: Link, settings: Settings, old: str, new: str) -> None:
        configured = [endpoint.name for endpoint in settings.endpoints]
        if new not in configured:
            raise CommandError(f"{new} is not configured: CDRs can go to {', '.join(configured)}")
        if settings.fans_out and old in configured:
            raise CommandError(f"{old} is configured: it gets its CDRs itself; take it out of the configuration first")
        self._link, self._settings = link, settings
        self._old, self._new = old, new
        self._slots = all_slots(settings.namespace, old)
        self._keys = LaneKeys(settings.namespace, pending_of(settings.namespace, old), old)
        self._newest = {"head": "RIGHT", "tail": "LEFT"}[settings.pending_oldest]
        self._move = link.script("unowned", "reroute")
        self._forget = link.script("unowned", "forget")

    async def lengths(self) -> dict[str, int]:
        """Return what waits in which list, oldest first: what was claimed, then what was not."""
        keys = [*(slot.processing for slot in self._slots), self._keys.pending]
        lengths = {key: await self._length(key) for key in keys}
        return {key: length for key, length in lengths.items() if length}

    async def run(self) -> None:
        """Move all of it, page by page. Raises CommandError where a live process still has the endpoint."""
        lengths = await self.lengths()
        moved = 0
        with progress("moved", sum(lengths.values())) as advance:
            for key in lengths:
                while page := await self._page(key):
                    moved += page
                    advance(page)
        left = [self._keys.failing, *(slot.ops for slot in self._slots)]
        await self._unowned("forget", self._forget, left)
        say(f"{moved} CDRs moved from {self._old} to {self._new}")
        await self._tell_of_dead_letters()

    async def _page(self, key: str) -> int:
        keys = [f"{self._settings.scratch}:gate", key, self._settings.lane_keys(self._new).pending]
        return int(await self._unowned("reroute", self._move, keys, [PAGE, self._newest]))

    async def _unowned(
        self, command: str, script: AsyncScript, keys: Sequence[str], args: Sequence[str | int] = ()
    ) -> Any:
        every_key = [*(slot.owner for slot in self._slots), *keys]
        every_arg = [self._old, len(self._slots), *args]
        reply = await ask(self._link, command, lambda: script(keys=every_key, args=every_arg))
        if isinstance(reply, bytes):
            raise CommandError(
                f"{self._old} is still an endpoint of the live process {parsed(reply).get('id')}: "
                "stop it, or give it the new configuration, and try again"
            )
        return reply

    async def _length(self, key: str) -> int:
        return int(await ask(self._link, "length", lambda: self._link.commands.llen(key)))

    async def _tell_of_dead_letters(self) -> None:
        if dead := await self._length(self._keys.dead):
            say(
                f"{dead} dead letters of {self._old} stay; "
                f"dead-letters replay --endpoint {self._old} --to {self._new} sends their CDRs too"
            )


async def reroute(link: Link, settings: Settings, old: str, new: str) -> None:
    await Reroute(link, settings, old.lower(), new.lower()).run()


async def rehearse_reroute(link: Link, settings: Settings, old: str, new: str) -> None:
    """Only say what would be moved."""
    lengths = await Reroute(link, settings, old.lower(), new.lower()).lengths()
    for key, length in lengths.items():
        say(f"{length} in {key}")
    say(f"{sum(lengths.values())} CDRs wait for {old}")
