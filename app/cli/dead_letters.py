"""List, show, replay and drop the selected dead letters."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from rich.table import Table

from app.cli.terminal import add, progress, say, say_json, show, table
from app.config.settings import Settings
from app.dead_letters.lanes import content, not_configured, stores, summary
from app.dead_letters.selection import Selection
from app.dead_letters.store import DeadStore
from app.errors import CommandError
from app.store.client import Link
from app.store.keys import Topology
from app.store.operations import Action, Operation, Operations

COLUMNS: Final = ("id", "endpoint", "reason", "status", "attempts", "first_failed_at", "dead_at", "bytes")
ROWS: Final = 1000
"""In one table: its columns are as wide as their content, so all of it must be known first."""


@dataclass
class Tally:
    done_of: Counter[str] = field(default_factory=Counter)
    """By endpoint."""
    gone: int = 0
    damaged: int = 0

    @property
    def done(self) -> int:
        return self.done_of.total()

    def text(self, verb: str) -> str:
        more = {"gone meanwhile": self.gone, "damaged, which can only be dropped": self.damaged}
        return f"{self.done} {verb}" + "".join(f"; {number} {what}" for what, number in more.items() if number)


@dataclass
class DeadLetters:
    """Holds the stores of the selected lanes, by the names of their endpoints."""

    stores: dict[str, DeadStore]
    operations: Operations
    to: str = ""

    @classmethod
    async def of(cls, link: Link, settings: Settings, endpoint: str | None) -> "DeadLetters":
        """Return those of one endpoint, or of all, including endpoints that are no longer configured."""
        topology = Topology(settings)
        keys = topology.lanes
        if endpoint not in keys:
            keys |= await not_configured(link, topology)
        if endpoint and endpoint not in keys:
            raise CommandError(f"--endpoint: there is no {endpoint}; there are {', '.join(keys)}")
        return cls(stores(link, keys, endpoint), Operations(link, topology))

    @classmethod
    async def to_replay(cls, link: Link, settings: Settings, endpoint: str | None, to: str | None) -> "DeadLetters":
        """Return those whose CDRs can be delivered. `to`: the endpoint that gets the CDRs of another one."""
        topology = Topology(settings)
        keys, target = topology.lanes, None
        if to:
            if to not in keys or not endpoint:
                raise CommandError(f"--to: needs --endpoint, and one of {', '.join(keys)}")
            target = keys[to]
            keys |= await not_configured(link, topology)
        if endpoint and endpoint not in keys:
            raise CommandError(f"--endpoint: {endpoint} is not configured; with --to, another one takes its CDRs")
        chosen = [endpoint] if endpoint else list(keys)
        chosen_stores = {name: DeadStore(link, keys[name], target) for name in chosen}
        return cls(chosen_stores, Operations(link, topology), to or "")

    async def list(self, selection: Selection, *, as_json: bool) -> None:
        rows, number = empty_table(), 0
        async for name, letter in selection.among(self.stores):
            number += 1
            if as_json:
                say_json(summary(name, letter))
            else:
                shown = summary(name, letter)
                add(rows, *(shown[column] for column in COLUMNS))
                if rows.row_count == ROWS:
                    show(rows)
                    rows = empty_table()
        if not as_json:
            if rows.row_count:
                show(rows)
            say(f"{number} dead letters")

    async def show(self, letter_id: str) -> None:
        """Print each letter with this id. Twins share an id, and so do the letters of several endpoints."""
        found = False
        async for name, letter in Selection(ids=frozenset({letter_id})).among(self.stores):
            found = True
            say_json(summary(name, letter) | content(letter), indent=2)
        if not found:
            raise CommandError(f"no dead letter has the id {letter_id}; `dead-letters list` names those that there are")

    async def count(self, selection: Selection) -> int:
        return sum([1 async for _ in selection.among(self.stores)])

    async def replay(self, selection: Selection, rate: float) -> None:
        """Put them into the retry set, at most `rate` per second, so that new CDRs are not delayed."""
        clock = asyncio.get_running_loop().time
        began, tally = clock(), Tally()
        with progress("replayed", await self._number()) as advance:
            async with self._told("replay", tally, "replayed"):
                async for name, letter in selection.among(self.stores):
                    if letter.damaged:
                        tally.damaged += 1
                        continue
                    # Paced from the beginning, and not from the last one: a slow Redis does not lower the rate.
                    await asyncio.sleep(began + (tally.done + tally.gone) / rate - clock())
                    if await self.stores[name].replay(letter):
                        tally.done_of[name] += 1
                    else:
                        tally.gone += 1
                    advance(1)

    async def drop(self, selection: Selection) -> None:
        tally = Tally()
        with progress("dropped", await self._number()) as advance:
            async with self._told("drop", tally, "dropped"):
                async for name, letter in selection.among(self.stores):
                    if await self.stores[name].drop(letter):
                        tally.done_of[name] += 1
                    else:
                        tally.gone += 1
                    advance(1)

    @asynccontextmanager
    async def _told(self, action: Action, tally: Tally, verb: str) -> AsyncIterator[None]:
        """Print how many were done, and leave word of it, also if an error or Ctrl-C ends it half-way."""
        ended = "; then it was cut short"
        try:
            yield
            ended = ""
        finally:
            say(tally.text(verb) + ended)
            done = (Operation(action, number, name, self.to) for name, number in tally.done_of.items())
            await self.operations.leave(*done)

    async def _number(self) -> int:
        return sum([await store.number() for store in self.stores.values()])


def empty_table() -> Table:
    return table(*(column.replace("_", " ") for column in COLUMNS), numbers=("status", "attempts", "bytes"))
