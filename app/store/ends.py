"""Translate which end of a list is the oldest into the words of Redis' commands."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class End:
    """Names one end: as LMOVE takes from it, as LINDEX looks at it, and the command that pushes at the other one."""

    claim: str
    index: int
    push_newest: str


ENDS: Final = {"head": End("LEFT", 0, "RPUSH"), "tail": End("RIGHT", -1, "LPUSH")}
