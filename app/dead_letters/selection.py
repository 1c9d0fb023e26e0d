"""Select dead letters by what a person typed."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from app.dead_letters.store import DeadStore, Letter
from app.telemetry.named_fields import named_fields, text_of

Lane = TypeVar("Lane")

SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
AGE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhdw]?)", re.ASCII)


def age_of(text: str) -> timedelta:
    """Read 90, 90s, 15m, 12h, 3d or 2w; a plain number is seconds. Raises ValueError."""
    found = AGE.fullmatch(text.strip().lower())
    if not found:
        raise ValueError("must be a duration, such as 90s, 15m, 12h, 3d or 2w")
    try:
        return timedelta(seconds=float(found[1]) * SECONDS[found[2]])
    except OverflowError:
        raise ValueError("must be a shorter duration") from None


@dataclass(frozen=True)
class Selection:
    """Selects letters for which all given fields are true. `reason` may be `damaged`, for what is no letter.

    `ids`: those of CDRs, which twins share, or of single letters. Empty ones select no letter; None selects any.
    `text`: somewhere in the CDR or in its id, whether in capitals or not; or a field and its value, as in
    `payload.call_ref=ACC-99120`.
    """

    ids: frozenset[str] | None = None
    reason: str | None = None
    older_than: timedelta | None = None
    limit: int | None = None
    status: int | None = None
    text: str = ""
    asked_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_everything(self) -> bool:
        return self.ids is None and not (self.reason or self.older_than or self.limit or self.status or self.text)

    def holds(self, letter: Letter) -> bool:
        return (
            (self.ids is None or not self.ids.isdisjoint((letter.id, letter.letter)))
            and self.reason in (None, letter.reason)
            and self.status in (None, letter.status)
            and (not self.text or self._is_in(letter))
            and (self.older_than is None or self._is_old(letter, self.older_than))
        )

    async def of(self, store: DeadStore) -> AsyncIterator[Letter]:
        """Yield the letters of one lane, without those that die meanwhile: a replayed one may come back at once."""
        met, there = 0, await store.number()
        async for letter in store.letters():
            met += 1
            if met > there:
                return
            if self.holds(letter):
                yield letter

    def without(self, number: int) -> "Selection":
        """Return the same selection after so many letters; only a limit changes."""
        return self if self.limit is None else replace(self, limit=max(0, self.limit - number))

    async def among(self, stores: Mapping[Lane, DeadStore]) -> AsyncIterator[tuple[Lane, Letter]]:
        """Yield the letters of several lanes, each with its lane, up to the limit."""
        number = 0
        for lane, store in stores.items():
            async for letter in self.of(store):
                if self.limit is not None and number >= self.limit:
                    return
                number += 1
                yield lane, letter

    def _is_in(self, letter: Letter) -> bool:
        wanted = self.text.lower().encode(errors="replace")
        return (
            wanted in letter.id.encode(errors="replace")
            or wanted in (letter.raw if letter.damaged else letter.cdr).lower()
            or self._is_a_field_of(letter)
        )

    def _is_a_field_of(self, letter: Letter) -> bool:
        path, equals, wanted = (part.strip() for part in self.text.partition("="))
        if not (path and equals and wanted):
            return False
        value = named_fields(letter.cdr, [path])[path]
        return value is not None and text_of(value).lower() == wanted.lower()

    def _is_old(self, letter: Letter, age: timedelta) -> bool:
        # A letter without a date does not count as old: drop it by --reason damaged, or by its id.
        return letter.dead_at is not None and self.asked_at - letter.dead_at > age
