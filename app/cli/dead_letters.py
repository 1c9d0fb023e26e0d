"""List, show, replay and drop the selected dead letters."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from app.cli.letter_rows import Listing
from app.cli.letters_found import Change, Found, Outcome, Tally, find, find_to_replay
from app.cli.operation import Sources
from app.cli.terminal import progress, say, say_json
from app.dead_letters.lanes import Lane, content, summary
from app.dead_letters.selection import Selection
from app.dead_letters.store import DeadStore, Letter
from app.errors import CommandError
from app.store.client import Link
from app.store.operations import Action

VERBS: Final[dict[Action, str]] = {"replay": "replayed", "drop": "dropped"}


async def list_letters(sources: Sources, *, selection: Selection, endpoint: str | None, as_json: bool) -> None:
    await _list(sources, await find(sources, endpoint), selection, as_json=as_json)


async def rehearse_replay(sources: Sources, *, selection: Selection, endpoint: str | None, to: str | None) -> None:
    """Print which would be replayed, and replay none."""
    await _list(sources, await find_to_replay(sources, endpoint, to), selection, as_json=False)


async def _list(sources: Sources, found: Found, selection: Selection, *, as_json: bool) -> None:
    listing = Listing(selection.asked_at, as_json=as_json, with_source=sources.are_several)

    async def one(link: Link) -> None:
        async for lane, letter in selection.without(listing.number).among(found[link].stores):
            listing.add(lane, letter)

    await sources.each(one)
    listing.end()


async def show_letter(sources: Sources, *, letter_id: str) -> None:
    """Print each letter with this id. Twins share an id, and so do the letters of several endpoints and sources."""
    found, wanted, shown = await find(sources, None), Selection(ids=frozenset({letter_id})), Counter[Lane]()

    async def one(link: Link) -> None:
        async for lane, letter in wanted.among(found[link].stores):
            shown[lane] += 1
            say_json(summary(lane, letter) | content(letter), indent=2)

    await sources.each(one)
    if not (shown or sources.failed):
        raise CommandError(f"no dead letter has the id {letter_id}; `dead-letters list` names those that there are")


async def replay_letters(
    sources: Sources, *, selection: Selection, endpoint: str | None, to: str | None, rate: float
) -> None:
    """Put them into the retry set, at most `rate` per second, so that new CDRs are not delayed."""
    found, tally = await find_to_replay(sources, endpoint, to), Tally()
    clock = asyncio.get_running_loop().time
    began = clock()

    async def replay(store: DeadStore, letter: Letter) -> Outcome:
        if letter.damaged:
            return "damaged"
        # Paced from the beginning, and not from the last one: a slow Redis does not lower the rate.
        await asyncio.sleep(began + (tally["done"] + tally["gone"]) / rate - clock())
        return "done" if await store.replay(letter) else "gone"

    await _change(sources, found, "replay", replay, selection, tally)


async def drop_letters(
    sources: Sources, *, selection: Selection, endpoint: str | None, ask: Callable[[int], None] | None
) -> None:
    """Remove them if `ask`, which is told how many there are, does not raise; None: without asking."""
    found = await find(sources, endpoint)

    async def drop(store: DeadStore, letter: Letter) -> Outcome:
        return "done" if await store.drop(letter) else "gone"

    if ask:
        ask(await _count(sources, found, selection))
    await _change(sources, found, "drop", drop, selection, Tally())


async def _count(sources: Sources, found: Found, selection: Selection) -> int:
    counted = 0

    async def one(link: Link) -> None:
        nonlocal counted
        counted += sum([1 async for _ in selection.without(counted).among(found[link].stores)])

    await sources.each(one)
    return counted


async def _change(  # noqa: PLR0913, PLR0917 - what to do with which
    sources: Sources, found: Found, action: Action, one: Change, selection: Selection, tally: Tally
) -> None:
    verb = VERBS[action]
    there = sum(await sources.each(lambda link: found[link].number()))
    with progress(verb, there) as advance, _told(sources, tally, verb):
        await sources.each(lambda link: found[link].change(action, one, selection, tally, advance))


@contextmanager
def _told(sources: Sources, tally: Tally, verb: str) -> Iterator[None]:
    """Print how many were done, also if an error or Ctrl-C ends it half-way."""
    ended = "; then it was cut short"
    try:
        yield
        ended = "".join(f"; source {name} was cut short" for name in sources.failed)
    finally:
        say(tally.text(verb) + ended)
