"""Search the dead letters of every lane for the page, and follow what was replayed."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.dead_letters.lanes import summary
from app.dead_letters.newest import NEWEST, Bounds, Newest
from app.dead_letters.selection import Selection
from app.dead_letters.store import Letter
from app.errors import CommandError
from app.ops.letters_lanes import LetterLane, Looked
from app.store.client import Link
from app.store.keys import LaneKeys
from app.store.patience import ask

SHOWN: Final = 20
READ: Final = 2000
SECONDS: Final = 3.0
"""How many letters one answer has, how many it reads for them, and how long it takes, at most."""

BEGINNING: Final = "newest"
"""In place of an index: a lane of which nothing was read yet."""

MEMBERS: Final = 2000
BYTES: Final = 4 * 1024 * 1024
"""How much of a retry set one look for replayed CDRs reads, at most."""

SKEW: Final = timedelta(seconds=30)
"""Between clocks of hosts. A replayed CDR needs a minute to die again, so those that died before are told apart."""


@dataclass(frozen=True)
class Place:
    """Says where a search goes on: before an index in the dead letters of a lane."""

    lane: str
    before: int = NEWEST

    @classmethod
    def read(cls, text: str, lanes: Iterable[str]) -> "Place":
        """Read what an answer gave as `next`. Raises CommandError."""
        lane, _, index = text.rpartition(":")
        is_index = index.isascii() and index.isdecimal() and len(index) < 16  # noqa: PLR2004
        if lane not in lanes or not (is_index or index == BEGINNING):
            raise CommandError("after: must be the `next` of an earlier answer")
        return cls(lane, NEWEST if index == BEGINNING else int(index))

    def __str__(self) -> str:
        return f"{self.lane}:{BEGINNING if self.before == NEWEST else self.before}"


async def search(looked: Looked, selection: Selection, after: str) -> dict[str, Any]:
    """Return the newest letters of the first lane that match, then those of the next, and where to go on."""
    bounds = Bounds(SHOWN, READ, time.monotonic() + SECONDS)
    names = [one.name for one in looked.lanes]
    place = Place.read(after, names) if after else Place(names[0])
    shown: list[dict[str, Any]] = []
    following: Place | None = place
    for one in looked:
        if names.index(one.name) < names.index(place.lane):
            continue
        before = place.before if one.name == place.lane else NEWEST
        following = Place(one.name, before)
        if bounds.are_met:
            break
        with looked.surviving(one):
            found = await Newest(one.source.link, one.keys).find(selection.holds, before, bounds)
            shown += [summary(one.lane, letter) for letter in found.letters]
            if found.before > 0:
                following = Place(one.name, found.before)
                break
        following = None
    return {"letters": shown, "read": READ - bounds.read, "next": str(following) if following else None}


@dataclass(frozen=True)
class Replay:
    """Says what was replayed: of each lane the SHA-1 of each CDR, and when that began."""

    cdrs: Mapping[str, Counter[str]]
    since: datetime

    @classmethod
    def read(cls, body: Any) -> "Replay":
        """Read what the answer to a replay held. Raises CommandError."""
        try:
            named = {str(name): Counter(map(str, sha1s)) for name, sha1s in body["replayed"].items()}
            return cls(named, datetime.fromisoformat(body["since"]).astimezone(UTC))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            raise CommandError("replayed and since: must be those of the answer to a replay") from None


async def outcome(lanes: Mapping[str, LetterLane], replay: Replay) -> dict[str, Any]:
    """Count which replayed CDRs still wait, which died again, and which are delivered because they do neither."""
    total = {"waiting": 0, "dead": 0, "delivered": 0}
    is_complete = True
    for name, replayed in replay.cdrs.items():
        if name not in lanes:
            raise CommandError(f"there is no endpoint {name!r:.40}")
        link, keys = lanes[name].source.link, lanes[name].keys
        # First those that wait: one that dies between the two looks is then seen twice, and not missed.
        complete, waiting = await _waiting(link, keys)
        dead_complete, died = await _died(link, keys, replay.since)
        dead = replayed & died
        waits = (replayed - dead) & waiting
        total["dead"] += dead.total()
        total["waiting"] += waits.total()
        total["delivered"] += (replayed - dead - waits).total()
        is_complete = is_complete and complete and dead_complete
    return total | {"complete": is_complete}


def sha1(letter: Letter) -> str:
    return hashlib.sha1(letter.cdr, usedforsecurity=False).hexdigest()


async def _waiting(link: Link, keys: LaneKeys) -> tuple[bool, Counter[str]]:
    script, args = link.script("replayed"), [MEMBERS, BYTES]
    complete, *sha1s = await ask(link, "replayed", lambda: script(keys=[keys.retry, keys.retrying], args=args))
    return bool(complete), Counter(each.decode() for each in sha1s)


async def _died(link: Link, keys: LaneKeys, since: datetime) -> tuple[bool, Counter[str]]:
    bounds = Bounds(READ, READ, time.monotonic() + SECONDS)
    found = await Newest(link, keys).find(lambda _: True, NEWEST, bounds)
    # They are in the order in which they died.
    died = [letter for letter in found.letters if letter.dead_at and letter.dead_at > since - SKEW]
    return not found.before or len(died) < len(found.letters), Counter(map(sha1, died))
