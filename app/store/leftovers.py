"""Find what waits for endpoints that are no longer configured."""

import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis

from app.errors import ForwarderError
from app.store.client import Link
from app.store.keys import Topology
from app.store.patience import ask
from app.telemetry import source_events

PAGE: Final = 1000
PLACES: Final = "pending|processing|retry|retrying|dead"
LENGTHS: Final[dict[bytes, Any]] = {b"list": Redis.llen, b"zset": Redis.zcard}


async def leftovers(link: Link, topology: Topology) -> Counter[str]:
    """Return how many CDRs are in the keys of each such endpoint; they stay there until they are rerouted.

    A lane is left over where this configuration does not use its keys.
    """
    # Without named endpoints the short keys are used, so every key with a name is left over.
    used = set(topology.endpoints) if topology.fans_out else set()
    source = topology.source
    ours = f"{re.escape(topology.namespace)}:([a-z0-9_-]+):(?:{PLACES}):{source}(?::[0-9]+)?"
    return await waiting_elsewhere(link, f"{topology.namespace}:*:{source}*", ours, used)


async def waiting_elsewhere(link: Link, pattern: str, ours: str, used: Collection[str]) -> Counter[str]:
    """Return how many CDRs are in the keys of each name but those that are used.

    `pattern`: what Redis looks for; `ours`: an expression for a whole key, whose first group is the name.
    """
    matches = re.compile(ours.encode()).fullmatch
    waiting: Counter[str] = Counter()
    cursor, begun = 0, False
    while cursor or not begun:
        begun = True
        cursor, keys = await _page(link, cursor, pattern)
        for match in filter(None, map(matches, keys)):
            if (name := match[1].decode()) not in used:
                waiting[name] += await length(link, match[0])
    return waiting


async def length(link: Link, key: str | bytes) -> int:
    """Return how many CDRs a key holds; 0 if it has another type than ours."""
    kind = await ask(link, "type", lambda: link.commands.type(key))
    if kind not in LENGTHS:
        return 0
    return int(await ask(link, "length", lambda: LENGTHS[kind](link.commands, key)))


async def report(link: Link, topology: Topology) -> None:
    """Say at start what is left over of endpoints; nothing else depends on it."""
    with suppress(ForwarderError):
        for endpoint, number in (await leftovers(link, topology)).items():
            source_events.endpoint_left_over(topology.source, endpoint, number)


async def _page(link: Link, cursor: int, pattern: str) -> tuple[int, list[bytes]]:
    """Return where the scan goes on (0: it has ended), and some keys of that pattern."""
    found: tuple[int, list[bytes]] = await ask(
        link, "scan", lambda: link.commands.scan(cursor, match=pattern, count=PAGE)
    )
    return found
