"""Check, before anything is claimed, that Redis can be worked with."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.exceptions import NoPermissionError, ResponseError

from app.errors import OperatorRedisError, RedisUnusableError, TransientRedisError
from app.store.client import Link
from app.store.meaning import meaning
from app.store.scripts import RunScript
from app.telemetry import source_events
from app.telemetry.outages import Reminder

OLDEST_REDIS: Final = (6, 2)

Call = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def preflight(link: Link, scratch: str) -> None:
    """Wait until Redis can be worked with. Raises RedisUnusableError if it never can."""
    await _check_version(link)
    reminder = Reminder(link.timings.reminder)
    while missing := await refusals(link, scratch, link.persist):
        link.refused.lacks_rights = True
        if reminder.is_due(missing):
            source_events.rights_missing(link.source.name, missing, link.place)
        await asyncio.sleep(link.timings.operator_pause)
    link.refused.lacks_rights = False


async def _check_version(link: Link) -> None:
    found = str((await link.persist("info", lambda: info(link, "server"))).get("redis_version", "6.2"))
    if is_too_old(found):
        raise RedisUnusableError(
            f"{link.source.redis.url_variable}: this Redis is {found}; 6.2 or newer is needed (or Valkey)"
        )


def is_too_old(version: str) -> bool:
    return tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS


async def info(link: Link, *sections: str) -> dict[str, Any]:
    """Return what INFO says; nothing if we may not ask. INFO is often forbidden, and no delivery needs it."""
    try:
        return await link.commands.info(*sections)
    except NoPermissionError:
        return {}


async def refusals(link: Link, scratch: str, call: Call) -> list[str]:
    """Try our commands on scratch keys, which are gone at once; return those for which ACL permissions are missing."""
    rehearse = link.script("rehearse")
    keys = [f"{scratch}:{kind}" for kind in ("string", "list", "hash", "zset")]
    refused: list[str] = await call("rehearse", lambda: _tried(rehearse, keys))
    try:
        moment: Any = 0.01  # redis-py says int, Redis takes both
        await link.call("claim", lambda: link.commands.blmove(keys[1], keys[1], moment, "LEFT", "RIGHT"))
    except TransientRedisError:
        pass  # full, or away just now: the right is not missing
    except OperatorRedisError as error:
        refused.append(f"BLMOVE: {error}")
    return refused


async def _tried(rehearse: RunScript, keys: list[str]) -> list[str]:
    """Return the missing rights. Raises if Redis takes no writes just now, which is tried again."""
    refused: list[str] = [text.decode() for text in await rehearse(keys=keys)]
    for refusal in refused:
        error = ResponseError(refusal.partition(": ")[2])
        if not isinstance(meaning(error), OperatorRedisError):
            raise error
    return refused
