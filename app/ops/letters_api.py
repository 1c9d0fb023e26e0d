"""List, show, replay and drop dead letters over HTTP, a part at a time."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from app.config.timings import Timings
from app.dead_letters.lanes import Lane, content, summary
from app.dead_letters.selection import Selection, age_of
from app.dead_letters.store import DeadStore, Letter
from app.errors import CommandError
from app.ops.letters_lanes import LetterLane, LetterLanes, Looked
from app.ops.letters_search import Replay, outcome, search, sha1
from app.ops.observation import ObservedSource
from app.store.operations import Action, Operation

Change = Callable[[str, DeadStore, Letter], Awaitable[bool]]

MOST_KINDS: Final = 10
"""Told before a change; the reason of a damaged letter may be anything."""
PAGE: Final = "page"
"""Who it was: somebody with the token, whose host may be any."""

RATE: Final = 200.0
"""Per second, so that a replay does not delay new CDRs."""

FIELDS: Final = {
    "endpoint": str,
    "source": str,
    "ids": list,
    "reason": str,
    "status": int,
    "text": str,
    "older_than": str,
    "all": bool,
    "dry_run": bool,
}
FILTERS: Final = {"endpoint": str, "source": str, "id": str, "reason": str, "status": int, "text": str, "after": str}


@dataclass(frozen=True)
class Asked:
    """Says which letters are meant, and whether only to count them."""

    where: Mapping[str, Any]
    """May name a source and an endpoint."""
    selection: Selection
    dry_run: bool

    @classmethod
    def read(cls, body: Any) -> "Asked":
        """Read a JSON object. Raises CommandError."""
        _check(body, FIELDS)
        if not all(isinstance(one, str) for one in body.get("ids", [])):
            raise CommandError("ids must be strings")
        ids = frozenset(body["ids"]) if "ids" in body else None
        age = _age(body["older_than"]) if "older_than" in body else None
        status, text = body.get("status"), body.get("text", "")
        selection = Selection(ids, body.get("reason"), age, status=status, text=text)
        if selection.is_everything and not any(body.get(name) for name in ("all", "endpoint", "source")):
            raise CommandError("say which: ids, endpoint, source, reason, status, text, older_than, or all")
        return cls(body, selection, bool(body.get("dry_run")))


class Letters:
    """Works on the dead letters of every lane, for the operator server."""

    def __init__(self, sources: Sequence[ObservedSource], timings: Timings) -> None:
        self._lanes, self._timings = LetterLanes(sources), timings
        self._reading = asyncio.Lock()

    async def search(self, wanted: Any) -> dict[str, Any]:
        """Return the newest ones that match, without their CDRs, how many there are, and where to go on."""
        _check(wanted, FILTERS)
        looked = self._lanes.chosen(wanted)
        ids = frozenset({wanted["id"]}) if "id" in wanted else None
        status, text = wanted.get("status"), wanted.get("text", "")
        selection = Selection(ids, wanted.get("reason"), status=status, text=text)
        async with self._alone(self._timings.scan_queue):
            found = await search(looked, selection, wanted.get("after", ""))
            number = 0
            for one in looked:
                with looked.surviving(one):
                    number += await one.store.number()
            return looked.told({"number": number, **found})

    async def outcome(self, body: Any) -> dict[str, Any]:
        """Say what has become of CDRs that were replayed."""
        replay = Replay.read(body)
        async with self._alone(self._timings.scan_queue):
            return await outcome(self._lanes.by_name, replay)

    async def show(self, letter_id: str) -> list[dict[str, Any]]:
        """Return each letter of that id, with its CDR."""
        wanted, looked = Selection(ids=frozenset({letter_id})), self._lanes.chosen({})
        found = []
        async with self._alone():
            for one in looked:
                with looked.surviving(one):
                    found += [summary(one.lane, letter) | content(letter) async for letter in wanted.of(one.store)]
        looked.told({})
        if not found:
            unread = f"; not all are known: {', '.join(looked.failed)} cannot be read" if looked.failed else ""
            raise CommandError(f"no dead letter has this id{unread}")
        return found

    async def replay(self, asked: Asked) -> dict[str, Any]:
        """Put CDRs into the retry set, due now. The answer names them, so that `outcome` can follow them."""
        since, replayed = datetime.now(UTC), defaultdict[str, list[str]](list)

        async def replay(name: str, store: DeadStore, letter: Letter) -> bool:
            if letter.damaged:
                return False
            await asyncio.sleep(1 / RATE)
            if is_done := await store.replay(letter):
                replayed[name].append(sha1(letter))
            return is_done

        answer = await self._change(asked, replay, "replay")
        return answer | ({} if asked.dry_run else {"since": since.isoformat(), "replayed": replayed})

    async def drop(self, asked: Asked) -> dict[str, Any]:
        """Remove them for good."""
        return await self._change(asked, lambda _, store, letter: store.drop(letter), "drop")

    async def _change(self, asked: Asked, change: Change, action: Action) -> dict[str, Any]:
        looked, done = self._lanes.chosen(asked.where), 0
        async with self._alone():
            if asked.dry_run:
                return looked.told(await _counted(asked.selection, looked))
            for one in looked:
                with looked.surviving(one), _told(action, one) as changed:
                    store = one.store
                    async for letter in asked.selection.of(store):
                        # So that no request takes long, and what is done when somebody closes the page stays done.
                        if done == self._timings.letters_at_once:
                            return looked.told({"done": done, "more": True})
                        if await change(one.name, store, letter):
                            done += 1
                            changed[one.lane.endpoint] += 1
        return looked.told({"done": done, "more": False})

    @asynccontextmanager
    async def _alone(self, patience: float | None = None) -> AsyncIterator[None]:
        """Let only one caller at a time read dead letters, to spare Redis for deliveries. Raises TimeoutError."""
        try:
            async with asyncio.timeout(patience):
                await self._reading.acquire()
        except TimeoutError:
            raise TimeoutError("another caller is reading dead letters: try again") from None
        try:
            yield
        finally:
            self._reading.release()


@contextmanager
def _told(action: Action, one: LetterLane) -> Iterator[Counter[str]]:
    """Tell how many were changed of each endpoint, also if the caller hangs up half-way."""
    changed: Counter[str] = Counter()
    try:
        yield changed
    finally:
        for endpoint, number in changed.items():
            one.source.work.note(Operation(action, number, endpoint, by=PAGE))


async def _counted(selection: Selection, looked: Looked) -> dict[str, Any]:
    """Say how many letters match, and of what."""
    kinds: Counter[tuple[Lane, str, int | None]] = Counter()
    for one in looked:
        with looked.surviving(one):
            kinds.update([(one.lane, letter.reason, letter.status) async for letter in selection.of(one.store)])
    of = [
        {"endpoint": lane.endpoint, "source": lane.source, "reason": reason, "status": status, "number": number}
        for (lane, reason, status), number in kinds.most_common(MOST_KINDS)
    ]
    return {"matching": kinds.total(), "of": of}


def _check(body: Any, fields: dict[str, type]) -> None:
    if not isinstance(body, dict):
        raise CommandError("the body must be a JSON object")
    for name, value in body.items():
        if name not in fields or not isinstance(value, fields[name]):
            raise CommandError(f"{name!r:.40} is not one of {', '.join(fields)}, or not of its type")


def _age(text: str) -> Any:
    try:
        return age_of(text)
    except ValueError as error:
        raise CommandError(f"older_than {error}") from None
