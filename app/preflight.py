"""What must be true of Redis before anything is claimed."""

import asyncio
from typing import Any, Final

from redis.commands.core import AsyncScript
from redis.exceptions import NoPermissionError, ResponseError

from app import events
from app.errors import OperatorRedisError, RedisUnusableError, TransientRedisError
from app.link import OPERATOR_PAUSE, Link, meaning

OLDEST_REDIS: Final = (6, 2)


async def preflight(link: Link, scratch: str) -> None:
    """Wait until Redis can be worked with. Raises RedisUnusableError where it never can."""
    await _check_version(link)
    while refusals := await _refusals(link, scratch):
        events.rights_missing(refusals)
        await asyncio.sleep(OPERATOR_PAUSE)


async def _check_version(link: Link) -> None:
    found = str((await link.persist("info", lambda: _server_info(link))).get("redis_version", "6.2"))
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST_REDIS:
        raise RedisUnusableError(f"CDR_REDIS_URL: this Redis is {found}; 6.2 or newer is needed (or Valkey)")


async def _server_info(link: Link) -> dict[str, Any]:
    """Ask what Redis is; nothing where we may not: INFO is often withheld, and nothing else needs it."""
    try:
        return await link.commands.info("server")
    except NoPermissionError:
        return {}


async def _refusals(link: Link, scratch: str) -> list[str]:
    rehearse = link.script("rehearse")
    keys = [f"{scratch}:{kind}" for kind in ("string", "list", "hash")]
    refusals: list[str] = await link.persist("rehearse", lambda: _tried(rehearse, keys))
    try:
        moment: Any = 0.01  # redis-py says int, Redis takes both
        await link.call("claim", lambda: link.blocking.blmove(keys[1], keys[1], moment, "LEFT", "RIGHT"))
    except TransientRedisError:
        pass  # full, or away just now: the right is not missing
    except OperatorRedisError as error:
        refusals.append(f"BLMOVE: {error}")
    return refusals


async def _tried(rehearse: AsyncScript, keys: list[str]) -> list[str]:
    """Return the rights that are missing. Raises where Redis takes no writes just now, which is tried again."""
    refusals: list[str] = [text.decode() for text in await rehearse(keys=keys)]
    for refusal in refusals:
        error = ResponseError(refusal.partition(": ")[2])
        if not isinstance(meaning(error), OperatorRedisError):
            raise error
    return refusals
