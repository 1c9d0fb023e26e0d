"""Leave word in Redis of what an operator's command has done, for a running process to tell and count."""

import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self, get_args

from app.store.client import Link
from app.store.keys import Topology
from app.store.optional import optional

Action = Literal["replay", "drop", "inject", "reroute"]

MOST_KEPT: Final = 1000
KEPT_MS: Final = 86_400_000
"""A day: after that, nobody who reads the log expects it any more."""

AT_ONCE: Final = 100
MOST_TEXT: Final = 128


@dataclass(frozen=True)
class Operation:
    """Says what was done to how many CDRs or dead letters, of which endpoint, and by whom: a host, or "page"."""

    action: Action
    number: int
    endpoint: str = ""
    to: str = ""
    by: str = ""

    @classmethod
    def read(cls, value: bytes) -> Self | None:
        """Return what was written; None for what cannot be read: anybody may write into Redis."""
        with suppress(ValueError, RecursionError):
            stored = json.loads(value)
            if isinstance(stored, dict) and stored.get("action") in get_args(Action):
                number = stored.get("number")
                if type(number) is int and number > 0:
                    texts = {name: str(stored.get(name, ""))[:MOST_TEXT] for name in ("endpoint", "to", "by")}
                    return cls(stored["action"], number, **texts)
        return None


class Operations:
    """Holds the list of what commands have done, and nobody has told yet. Nothing depends on it."""

    def __init__(self, link: Link, topology: Topology) -> None:
        self.source = topology.source
        self._link, self._key = link, topology.short.operations
        self._script = link.script("operation")

    async def leave(self, *done: Operation) -> None:
        """Append what was done by a command on this host."""
        host = socket.gethostname()
        values = [json.dumps(asdict(one) | {"by": host}) for one in done if one.number]
        if values:
            await optional(lambda: self._script(keys=[self._key], args=[MOST_KEPT, KEPT_MS, *values]))

    async def take(self) -> Sequence[Operation]:
        """Take what is there: of several processes, one gets it."""
        reply: Any = await optional(lambda: self._link.commands.lpop(self._key, AT_ONCE))
        return [found for value in reply or () if (found := Operation.read(value))]
