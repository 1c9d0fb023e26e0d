"""List, show, replay and drop dead letters over HTTP, a part at a time."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from app.config.settings import Settings
from app.dead_letters import lanes as dead_lanes
from app.dead_letters.selection import Selection, age_of
from app.dead_letters.store import DeadStore, Letter
from app.errors import CommandError
from app.ops.letters_search import Replay, outcome, search, sha1
from app.ops.operations import OperatorWork
from app.store.client import Link
from app.store.keys import LaneKeys, Topology
from app.store.operations import Action, Operation

MOST_KINDS: Final = 10
"""Told before a change; the reason of a damaged letter may be anything."""
PAGE: Final = "page"
"""Who it was: somebody with the token, whose host may be any."""

RATE: Final = 200.0
"""Per second, so that a replay does not delay new CDRs."""

FIELDS: Final = {
    "endpoint": str,
    "ids": list,
    "reason": str,
    "status": int,
    "text": str,
    "older_than": str,
    "all": bool,
    "dry_run": bool,
}
FILTERS: Final = {"endpoint": str, "id": str, "reason": str, "status": int, "text": str, "after": str}


@dataclass(frozen=True)
class Asked:
    """Says which letters are meant, and whether only to count them."""

    endpoint: str | None
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
        if selection.is_everything and not (body.get("all") or body.get("endpoint")):
            raise CommandError("say which: ids, endpoint, reason, status, text, older_than, or all")
        return cls(body.get("endpoint"), selection, bool(body.get("dry_run")))


class Letters:
    """Works on the dead letters of every lane, for the operator server."""

    def __init__(self, link: Link, settings: Settings, work: OperatorWork) -> None:
        self._link = link
        self._settings = settings
        self.work = work
        self._reading = asyncio.Lock()

    async def search(self, wanted: Any) -> dict[str, Any]:
        """Return the newest ones that match, without their CDRs, how many there are, and where to go on."""
        _check(wanted, FILTERS)
        stores = await self._stores(wanted.get("endpoint"))
        ids = frozenset({wanted["id"]}) if "id" in wanted else None
        status, text = wanted.get("status"), wanted.get("text", "")
        selection = Selection(ids, wanted.get("reason"), status=status, text=text)
        async with self._alone(self._link.timings.scan_queue):
            found = await search(self._link, self._keys(stores), selection, wanted.get("after", ""))
            return {"number": sum([await store.number() for store in stores.values()]), **found}

    async def outcome(self, body: Any) -> dict[str, Any]:
        """Say what has become of CDRs that were replayed."""
        replay = Replay.read(body)
        async with self._alone(self._link.timings.scan_queue):
            return await outcome(self._link, Topology(self._settings.sources[0]).lanes, replay)

    async def show(self, letter_id: str) -> list[dict[str, Any]]:
        """Return each letter of that id, with its CDR."""
        wanted = Selection(ids=frozenset({letter_id}))
        stores = await self._stores(None)
        async with self._alone():
            found = [
                dead_lanes.summary(dead_lanes.Lane(self._settings.sources[0].name, name), letter)
                | dead_lanes.content(letter)
                async for name, letter in wanted.among(stores)
            ]
        if not found:
            raise CommandError("no dead letter has this id")
        return found

    async def replay(self, asked: Asked) -> dict[str, Any]:
        """Put CDRs into the retry set, due now. The answer names them, so that `outcome` can follow them."""
        since, replayed = datetime.now(UTC), defaultdict[str, list[str]](list)

        async def one(name: str, store: DeadStore, letter: Letter) -> bool:
            if letter.damaged:
                return False
            await asyncio.sleep(1 / RATE)
            if is_done := await store.replay(letter):
                replayed[name].append(sha1(letter))
            return is_done

        answer = await self._change(asked, one, "replay")
        return answer | ({} if asked.dry_run else {"since": since.isoformat(), "replayed": replayed})

    async def drop(self, asked: Asked) -> dict[str, Any]:
        """Remove them for good."""
        return await self._change(asked, lambda _, store, letter: store.drop(letter), "drop")

    async def _change(
        self, asked: Asked, change: Callable[[str, DeadStore, Letter], Awaitable[bool]], action: Action
    ) -> dict[str, Any]:
        stores = await self._stores(asked.endpoint)
        async with self._alone(), self._told(action) as changed:
            if asked.dry_run:
                return await _counted(asked.selection, stores)
            async for name, letter in asked.selection.among(stores):
                # So that no request takes long, and what is done when somebody closes the page stays done.
                if changed.total() == self._link.timings.letters_at_once:
                    return {"done": changed.total(), "more": True}
                if await change(name, stores[name], letter):
                    changed[name] += 1
        return {"done": changed.total(), "more": False}

    @asynccontextmanager
    async def _told(self, action: Action) -> AsyncIterator[Counter[str]]:
        """Tell how many were changed of each endpoint, also if the caller hangs up half-way."""
        changed: Counter[str] = Counter()
        try:
            yield changed
        finally:
            for endpoint, number in changed.items():
                self.work.note(Operation(action, number, endpoint, by=PAGE))

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

    def _keys(self, names: Iterable[str]) -> dict[str, LaneKeys]:
        return {name: Topology(self._settings.sources[0]).lane(name) for name in names}

    async def _stores(self, endpoint: str | None) -> dict[str, DeadStore]:
        keys = Topology(self._settings.sources[0]).lanes
        if endpoint is not None and endpoint not in keys:
            raise CommandError(f"there is no such endpoint; there are {', '.join(keys)}")
        chosen = {name: lane for name, lane in keys.items() if endpoint in {None, name}}
        return {lane.endpoint: store for lane, store in dead_lanes.stores(self._link, chosen).items()}


async def _counted(selection: Selection, stores: dict[str, DeadStore]) -> dict[str, Any]:
    """Say how many letters match, and of what."""
    kinds = Counter([(name, letter.reason, letter.status) async for name, letter in selection.among(stores)])
    of = [
        {"endpoint": endpoint, "reason": reason, "status": status, "number": number}
        for (endpoint, reason, status), number in kinds.most_common(MOST_KINDS)
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
