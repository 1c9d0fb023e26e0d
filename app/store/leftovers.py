"""What waits for endpoints that are no longer configured."""

import re
from collections import Counter
from contextlib import suppress
from typing import Final

from app.config.settings import Settings
from app.errors import ForwarderError
from app.store.client import Link
from app.telemetry import events

PAGE: Final = 1000


async def leftovers(link: Link, settings: Settings) -> Counter[str]:
    """Return how many CDRs are in the lists of each such endpoint; they stay there until they are rerouted."""
    configured = {endpoint.name for endpoint in settings.endpoints} if settings.fans_out else set()
    ours = re.compile(rf"{re.escape(settings.namespace)}:([a-z0-9_-]+):(pending|processing|dead):cdr(:[0-9]+)?")
    waiting: Counter[str] = Counter()
    cursor, begun = 0, False
    while cursor or not begun:
        begun = True
        cursor, keys = await _page(link, cursor, f"{settings.namespace}:*:cdr*")
        for match in filter(None, (ours.fullmatch(key.decode()) for key in keys)):
            if match[1] not in configured:
                waiting[match[1]] += await _length(link, match[0])
    return waiting


async def report(link: Link, settings: Settings) -> None:
    """Say at start what is left over; nothing else depends on it."""
    with suppress(ForwarderError):
        for endpoint, number in (await leftovers(link, settings)).items():
            events.endpoint_left_over(endpoint, number)


async def _page(link: Link, cursor: int, pattern: str) -> tuple[int, list[bytes]]:
    found: tuple[int, list[bytes]] = await link.call(
        "scan", lambda: link.commands.scan(cursor, match=pattern, count=PAGE, _type="list")
    )
    return found


async def _length(link: Link, key: str) -> int:
    return int(await link.call("length", lambda: link.commands.llen(key)))
