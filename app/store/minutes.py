"""Keep what a lane does in each minute of a day, in Redis, for all processes together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Final

from app.store.client import Link
from app.store.keys import LaneKeys, Slot
from app.store.optional import optional

HOUR: Final = 60
A_DAY: Final = 1440
"""Minutes."""

VALUE: Final = re.compile(rb"(\d{1,15}) (\d{1,15}) (\d{1,15})")


@dataclass(frozen=True, slots=True)
class Minute:
    """Counts what happened in a minute, numbered from the epoch. `backlog`: CDRs that waited at its end."""

    minute: int
    delivered: int
    failed: int
    backlog: int


class Minutes:
    """Adds the minutes of one process in one slot. Those that Redis did not take are sent again."""

    def __init__(self, link: Link) -> None:
        self._script = link.script("minutes")
        # A process that takes the slot later must not continue these numbers, so each has a field of its own.
        self._field = f"minutes-{token_hex(4)}"

    async def add(self, keys: LaneKeys, slot: Slot, first: int, minutes: Sequence[Minute]) -> bool:
        """Add minutes that are numbered from `first` on; return whether that is done. A second time adds nothing."""
        values = [value for one in minutes for value in (one.minute, one.delivered, one.failed, one.backlog)]
        args: list[str | int] = [self._field, first, *values]
        return await optional(lambda: self._script(keys=[keys.minutes, slot.ops], args=args)) is not None


def read_history(reply: Sequence[Any]) -> list[Minute]:
    """Return the minutes that Redis knows, newest first, without what cannot be read."""
    found = ((minute, VALUE.fullmatch(value)) for minute, value in zip(reply[1::2], reply[2::2], strict=True))
    return [Minute(int(minute), *map(int, match.groups())) for minute, match in found if match]
