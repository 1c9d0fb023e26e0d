"""Find the selected dead letters of each source, and change them one by one."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Self

from app.cli.operation import Sources
from app.dead_letters.lanes import Lane, not_configured, stores
from app.dead_letters.selection import Selection
from app.dead_letters.store import DeadStore, Letter
from app.errors import CommandError
from app.store.client import Link
from app.store.keys import LaneKeys, Topology
from app.store.operations import Action, Operation, Operations

Outcome = Literal["done", "gone", "damaged"]
Change = Callable[[DeadStore, Letter], Awaitable[Outcome]]


class Tally(Counter[Outcome]):
    def text(self, verb: str) -> str:
        more = {"gone meanwhile": self["gone"], "damaged, which can only be dropped": self["damaged"]}
        return f"{self['done']} {verb}" + "".join(f"; {number} {what}" for what, number in more.items() if number)


@dataclass
class DeadLetters:
    """Holds the chosen dead letters of one source. `endpoints`: those that it has; of which some may be left over."""

    stores: dict[Lane, DeadStore]
    endpoints: list[str]
    operations: Operations
    to: str = ""

    @classmethod
    async def of(cls, link: Link, endpoint: str | None) -> Self:
        """Return those of one endpoint, or of all, including endpoints that are no longer configured."""
        topology = Topology(link.source)
        keys = topology.lanes
        if endpoint not in keys:
            keys |= await not_configured(link, topology)
        return cls(stores(link, _chosen(keys, endpoint)), list(keys), Operations(link, topology))

    @classmethod
    async def to_replay(cls, link: Link, endpoint: str | None, to: str | None) -> Self:
        """Return those whose CDRs can be delivered. `to`: the endpoint that gets the CDRs of another one."""
        topology = Topology(link.source)
        keys, target = topology.lanes, topology.lanes.get(to or "")
        if to:
            keys |= await not_configured(link, topology)
        chosen = _chosen(keys, endpoint)
        if to and chosen and not target:
            raise CommandError(f"--to: it has no endpoint {to}, but {', '.join(topology.endpoints)}")
        return cls(stores(link, chosen, target), list(keys), Operations(link, topology), to or "")

    async def number(self) -> int:
        return sum([await store.number() for store in self.stores.values()])

    async def change(
        self, action: Action, one: Change, selection: Selection, tally: Tally, advance: Callable[[int], None]
    ) -> None:
        """Do it to each of them, and leave word of how many, also if an error or Ctrl-C ends it half-way."""
        done: Counter[str] = Counter()
        try:
            async for lane, letter in selection.without(tally.total()).among(self.stores):
                outcome = await one(self.stores[lane], letter)
                tally[outcome] += 1
                done[lane.endpoint] += outcome == "done"
                advance(1)
        finally:
            await self.operations.leave(*(Operation(action, number, name, self.to) for name, number in done.items()))


def _chosen(keys: dict[str, LaneKeys], endpoint: str | None) -> dict[str, LaneKeys]:
    return {name: lane for name, lane in keys.items() if endpoint in {None, name}}


Found = dict[Link, DeadLetters]


async def find(sources: Sources, endpoint: str | None) -> Found:
    """Return those of each source that answers. Raises CommandError if none has that endpoint, nor ever had it."""
    return await _found(sources, endpoint, lambda link: DeadLetters.of(link, endpoint))


async def find_to_replay(sources: Sources, endpoint: str | None, to: str | None) -> Found:
    names = list(dict.fromkeys(name for link in sources.links for name in Topology(link.source).endpoints))
    if to and (to not in names or not endpoint):
        raise CommandError(f"--to: needs --endpoint, and one of {', '.join(names)}")
    if endpoint and not to and endpoint not in names:
        raise CommandError(f"--endpoint: {endpoint} is not configured; with --to, another one takes its CDRs")
    return await _found(sources, endpoint, lambda link: DeadLetters.to_replay(link, endpoint, to))


async def _found(sources: Sources, endpoint: str | None, letters_of: Callable[[Link], Awaitable[DeadLetters]]) -> Found:
    found: Found = {}

    async def one(link: Link) -> None:
        found[link] = await letters_of(link)

    await sources.each(one)
    # One that does not answer may have it.
    if endpoint and not sources.failed and not any(letters.stores for letters in found.values()):
        names = dict.fromkeys(name for letters in found.values() for name in letters.endpoints)
        raise CommandError(f"--endpoint: there is no {endpoint}; there are {', '.join(names)}")
    return found
