"""Look through the dead letters of a lane from the newest on, a bounded part at a time."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from app.dead_letters.store import PAGE, PAGE_BYTES, Letter
from app.store.client import Link
from app.store.keys import LaneKeys
from app.store.patience import ask

NEWEST: Final = -1
"""Before this index is every letter."""


@dataclass
class Bounds:
    """Holds what one look may still cost: letters to find, letters to read, and until when (monotonic clock)."""

    found: int
    read: int
    until: float

    @property
    def are_met(self) -> bool:
        return self.found <= 0 or self.read <= 0 or time.monotonic() >= self.until


@dataclass
class Found:
    """Holds what a look has found. `before`: the index to go on from; 0 where there is no more."""

    before: int
    letters: list[Letter] = field(default_factory=list)


class Newest:
    """Reads a lane from the newest letter to the oldest, without those that die meanwhile."""

    def __init__(self, link: Link, keys: LaneKeys) -> None:
        self._link, self._keys = link, keys
        self._script = link.script("newest_letters")

    async def find(self, holds: Callable[[Letter], bool], before: int, bounds: Bounds) -> Found:
        """Return letters before an index for which `holds` is true, within the bounds."""
        found = Found(before)
        async for index, letter in self._letters(before, bounds):
            found.before = index
            bounds.read -= 1
            if holds(letter):
                found.letters.append(letter)
                bounds.found -= 1
            if bounds.are_met:
                return found
        if not bounds.are_met:
            found.before = 0
        return found

    async def _letters(self, before: int, bounds: Bounds) -> AsyncIterator[tuple[int, Letter]]:
        """Yield each letter with its index, the newest first."""
        while before and not bounds.are_met:
            _, before, *page = await self._page(before)
            for place, raw in enumerate(page, start=1):
                yield before + len(page) - place, Letter.read(raw)
            if not page:
                return

    async def _page(self, before: int) -> list[Any]:
        args = [before, PAGE, PAGE_BYTES]
        page: list[Any] = await ask(self._link, "letters", lambda: self._script(keys=[self._keys.dead], args=args))
        return page
