"""List, show, replay and drop the selected dead letters."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from app.cli.letter_rows import ROWS, empty_rows, row
from app.cli.terminal import progress, say, say_json, show
from app.config.settings import Settings
from app.dead_letters.lanes import content, not_configured, summary
from app.dead_letters.selection import Selection
from app.dead_letters.store import DeadStore
from app.errors import CommandError
from app.store.client import Link
from app.store.keys import LaneKeys, Topology
from app.store.operations import Action, Operation, Operations


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


@dataclass(frozen=True)
class Where:
    """Says whose letters are meant: None means all."""

    endpoint: str | None = None
    source: str | None = None

    def chosen(self, keys: dict[str, LaneKeys]) -> dict[str, LaneKeys]:
        """Return those of the endpoint and of the source. Raises CommandError if there are none."""
        sources = {lane.source for lane in keys.values()}
        if self.source and self.source not in sources:
            raise CommandError(f"--source: there is no {self.source}; there are {', '.join(sources)}")
        return {
            name: lane
            for name, lane in keys.items()
            if self.endpoint in (None, name) and self.source in (None, lane.source)
        }


EVERYWHERE: Final = Where()


@dataclass
class DeadLetters:
    """Holds the stores of the selected lanes, by the names of their endpoints."""

    stores: dict[str, DeadStore]
    operations: Operations
    to: str = ""

    @classmethod
    async def of(cls, link: Link, settings: Settings, where: Where = EVERYWHERE) -> "DeadLetters":
        """Return those of one endpoint, or of all, including endpoints that are no longer configured."""
        topology = Topology(settings.sources[0])
        keys, endpoint = topology.lanes, where.endpoint
        if endpoint not in keys:
            keys |= await not_configured(link, topology)
        if endpoint and endpoint not in keys:
            raise CommandError(f"--endpoint: there is no {endpoint}; there are {', '.join(keys)}")
        chosen = {name: DeadStore(link, lane) for name, lane in where.chosen(keys).items()}
        return cls(chosen, Operations(link, topology))

    @classmethod
    async def to_replay(
        cls, link: Link, settings: Settings, where: Where = EVERYWHERE, to: str | None = None
    ) -> "DeadLetters":
        """Return those whose CDRs can be delivered. `to`: the endpoint that gets the CDRs of another one."""
        topology = Topology(settings.sources[0])
        keys, target, endpoint = topology.lanes, None, where.endpoint
        if to:
            if to not in keys or not endpoint:
                raise CommandError(f"--to: needs --endpoint, and one of {', '.join(keys)}")
            target = keys[to]
            keys |= await not_configured(link, topology)
        if endpoint and endpoint not in keys:
            raise CommandError(f"--endpoint: {endpoint} is not configured; with --to, another one takes its CDRs")
        chosen = {name: DeadStore(link, lane, target) for name, lane in where.chosen(keys).items()}
        return cls(chosen, Operations(link, topology), to or "")

    async def list(self, selection: Selection, *, as_json: bool) -> None:
        rows, number = empty_rows(), 0
        async for name, letter in selection.among(self.stores):
            number += 1
            if as_json:
                say_json(summary(name, letter))
                continue
            if len(rows) == ROWS:
                show(rows)
                rows = empty_rows()
            rows.add(*row(name, letter, selection.asked_at))
        if not as_json:
            if rows:
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


async def list_letters(link: Link, settings: Settings, *, selection: Selection, where: Where, as_json: bool) -> None:
    await (await DeadLetters.of(link, settings, where)).list(selection, as_json=as_json)


async def show_letter(link: Link, settings: Settings, *, letter_id: str) -> None:
    await (await DeadLetters.of(link, settings)).show(letter_id)


async def rehearse_replay(
    link: Link, settings: Settings, *, selection: Selection, where: Where, to: str | None
) -> None:
    """Print which would be replayed, and replay none."""
    await (await DeadLetters.to_replay(link, settings, where, to)).list(selection, as_json=False)


async def replay_letters(  # noqa: PLR0913 - each is an option
    link: Link, settings: Settings, *, selection: Selection, where: Where, to: str | None, rate: float
) -> None:
    await (await DeadLetters.to_replay(link, settings, where, to)).replay(selection, rate)


async def drop_letters(
    link: Link, settings: Settings, *, selection: Selection, where: Where, ask: Callable[[int], None] | None
) -> None:
    """Remove them if `ask`, which is told how many there are, does not raise; None: without asking."""
    found = await DeadLetters.of(link, settings, where)
    if ask:
        ask(await found.count(selection))
    await found.drop(selection)
