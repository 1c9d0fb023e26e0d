"""Which keys hold CDRs, and how one is read from an element."""

import base64
import json
import re
from dataclasses import dataclass
from typing import Final

SHARED: Final = ""
"""The pool of what is not distributed yet; of the only endpoint, where there is but one."""


@dataclass(frozen=True)
class Place:
    """`pool`: whose CDRs the key holds: an endpoint's, or `SHARED`."""

    pool: str
    kind: str
    slot: int = 0

    def __str__(self) -> str:
        name = f"{self.kind} {self.slot}" if self.slot > 1 else self.kind
        return f"{self.pool}'s {name}" if self.pool else name


class Layout:
    """The keys of one integrator and one source."""

    def __init__(self, integrator: str, source_key: str, source: str = "cdr") -> None:
        self.source_key = source_key.encode()
        kinds = "pending|processing|retry|retrying|dead"
        self._pattern = re.compile(f"{integrator}:(?:([a-z0-9_-]+):)?({kinds}):{source}(?::([0-9]+))?")
        self._owner = re.compile(f"{integrator}:processing:{source}(?::([0-9]+))?:owner")
        self._places: dict[bytes, Place | None] = {self.source_key: Place(SHARED, "source")}
        self._integrator = integrator
        self._source = source

    def place(self, key: bytes) -> Place | None:
        """Return what a key holds; None where no CDRs are in it."""
        if key not in self._places:
            match = self._pattern.fullmatch(key.decode(errors="replace"))
            self._places[key] = match and Place(match[1] or SHARED, match[2], int(match[3] or 1))
        return self._places[key]

    def is_owner(self, key: bytes) -> bool:
        return key.endswith(b":owner") and bool(self._owner.fullmatch(key.decode(errors="replace")))

    def owner_key(self, slot: int) -> bytes:
        suffix = f":{slot}" if slot > 1 else ""
        return f"{self._integrator}:processing:{self._source}{suffix}:owner".encode()


def payload_of(place: Place, element: bytes) -> bytes:
    """Return the CDR that an element stands for."""
    match place.kind:
        case "dead":
            return _of_letter(element)
        case "retry" | "retrying" if element.startswith(b"cdr1 "):
            return element.partition(b"\n")[2]
    return element


def _of_letter(element: bytes) -> bytes:
    try:
        letter = json.loads(element)
        return base64.b64decode(letter["cdr_base64"]) if "cdr_base64" in letter else str(letter["cdr"]).encode()
    except (ValueError, KeyError, TypeError):
        return element
