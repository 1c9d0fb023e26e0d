"""Read dead letters, replay and drop them."""

import base64
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final
from uuid import uuid4

from app.cdr import History, webhook_id
from app.errors import DamagedLetterError
from app.store.client import Link
from app.store.keys import LaneKeys
from app.store.patience import ask
from app.store.retry_set import member_of
from app.store.scripts import RunScript

DAMAGED: Final = "damaged"
PAGE: Final = 64
PAGE_BYTES: Final = 2**20
LANDMARKS: Final = 256
"""How many letters a reader recognises. Only if others removed all of these would it read some twice."""

REMEMBERED_MS: Final = 3_600_000
"""How long Redis remembers an operation. A re-send that comes later may replay a twin of the letter."""


@dataclass(frozen=True)
class Letter:
    """Holds one element of a dead list. `raw` is the exact element in Redis, by which it is found."""

    raw: bytes
    id: str
    letter: str
    endpoint: str
    source: str
    reason: str
    status: int | None
    answer: str
    attempts: int
    first_failed_at: datetime | None
    dead_at: datetime | None
    cdr: bytes
    damaged: str = ""
    """Why its CDR cannot be restored (then `cdr` is empty), or empty."""

    @property
    def token(self) -> str:
        """Return a token that depends on the letter alone, so that a replay that is sent twice makes one member."""
        return f"letter-{hashlib.sha256(self.raw).hexdigest()[:32]}"

    @classmethod
    def read(cls, raw: bytes) -> "Letter":
        """Return the letter. Anything that is not one is damaged, but has an id."""
        try:
            fields = _object(raw)
            cdr = _cdr(fields)
        except (ValueError, RecursionError) as error:
            name = f"{DAMAGED}_{hashlib.sha256(raw).hexdigest()[:32]}"
            return cls(raw, name, "", "", "", DAMAGED, None, "", 0, None, None, b"", damaged=_problem(error))
        return cls(
            raw=raw,
            id=_text(fields, "id") or webhook_id(cdr),
            letter=_text(fields, "letter"),
            endpoint=_text(fields, "endpoint"),
            source=_text(fields, "source"),
            reason=_text(fields, "reason"),
            status=_number(fields, "status"),
            answer=_text(fields, "answer"),
            attempts=_number(fields, "attempts") or 0,
            first_failed_at=_time(fields, "first_failed_at"),
            dead_at=_time(fields, "dead_at"),
            cdr=cdr,
        )


class DeadStore:
    """Reads, replays and drops the dead letters of one lane while the lane goes on.

    Each change has a number, so that it can be sent again after a lost reply, and is applied once.
    """

    def __init__(self, link: Link, keys: LaneKeys, to: LaneKeys | None = None) -> None:
        """Make one for the letters of a lane; `to`: the lane whose endpoint gets what is replayed, if another."""
        self._link = link
        self._keys = keys
        self._to = to or keys
        self._operation = keys.operation(uuid4().hex)
        self._numbers = count(1)
        self._removed: Letter | None = None
        self._letters = link.script("letters")
        self._replay = link.script("common", "once", "replay")
        self._drop = link.script("common", "once", "drop")

    async def number(self) -> int:
        dead = self._keys.dead
        return int(await ask(self._link, "dead", lambda: self._link.commands.llen(dead)))

    async def letters(self) -> AsyncIterator[Letter]:
        """Yield every letter, oldest first, whatever is removed meanwhile; one that stays may come twice."""
        passed = 0
        # Others remove letters meanwhile, so a position alone would skip some. The last letters seen tell where we are.
        landmarks: deque[str] = deque(maxlen=LANDMARKS)
        while reply := await self._page(passed, landmarks):
            passed = int(reply[0])
            for raw in reply[1:]:
                letter = Letter.read(raw)
                yield letter
                # A letter that our caller has just removed no longer counts for the position.
                if self._removed is not letter:
                    passed += 1
                    landmarks.append(hashlib.sha1(raw, usedforsecurity=False).hexdigest())

    async def replay(self, letter: Letter) -> bool:
        """Put its exact CDR into the retry set, due now; False: the letter is gone. Raises DamagedLetterError."""
        if letter.damaged:
            raise DamagedLetterError(f"{letter.id} cannot be replayed, only dropped: {letter.damaged}")
        keys = [self._keys.dead, self._to.retry, self._to.retrying, f"{self._keys.dead}:scratch"]
        member = member_of(letter.token, History(replayed=True), letter.cdr)
        return await self._remove("replay", self._replay, keys, letter, [member])

    async def drop(self, letter: Letter) -> bool:
        """Remove it for good; False: it is gone already."""
        return await self._remove("drop", self._drop, [self._keys.dead], letter)

    async def _page(self, passed: int, landmarks: Sequence[str]) -> list[Any]:
        args: list[int | str] = [passed, PAGE, PAGE_BYTES, *landmarks]
        page: list[Any] = await ask(self._link, "letters", lambda: self._letters(keys=[self._keys.dead], args=args))
        return page

    async def _remove(
        self, command: str, script: RunScript, lists: list[str], letter: Letter, more: Sequence[bytes | str] = ()
    ) -> bool:
        keys = [self._operation, *lists]
        args = [next(self._numbers), REMEMBERED_MS, letter.raw, *more]
        if not await ask(self._link, command, lambda: script(keys=keys, args=args)):
            return False
        self._removed = letter
        return True


def _object(raw: bytes) -> dict[str, Any]:
    fields = json.loads(raw.decode())
    if not isinstance(fields, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - whatever is wrong with it, it is damaged
    return fields


def _cdr(fields: dict[str, Any]) -> bytes:
    if isinstance(text := fields.get("cdr"), str):
        return text.encode()
    if isinstance(text := fields.get("cdr_base64"), str):
        return base64.b64decode(text, validate=True)
    raise ValueError("it holds no CDR")


def _problem(error: Exception) -> str:
    """Return what is wrong, without any of the content, which errors of decoders quote."""
    known = {"it is no JSON object", "it holds no CDR"}
    return str(error) if str(error) in known else "it is not the JSON of a dead letter"


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _number(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) else None


def _time(fields: dict[str, Any], name: str) -> datetime | None:
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(_text(fields, name)).astimezone(UTC)
    return None
