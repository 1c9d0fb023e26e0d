"""Read from Redis, for the demo, how long the lists are, and at the end what is still in them."""

import json
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from app.store.keys import LaneKeys
from app.store.retry_set import read_member

KEYS = LaneKeys("demo", "enigma:notifications:cdr")
SLOTS = KEYS.slots()


@dataclass(frozen=True)
class Lengths:
    """Holds the lengths. `owners`: processes with a lease; `deferred`: CDRs that wait for another try."""

    source: int
    processing: int
    deferred: int
    dead: int
    owners: int


class Lists:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def lengths(self) -> Lengths:
        pipe = self._redis.pipeline(transaction=False)
        pipe.llen(KEYS.pending)
        pipe.zcard(KEYS.retry)
        pipe.zcard(KEYS.retrying)
        pipe.llen(KEYS.dead)
        pipe.exists(*[slot.owner for slot in SLOTS])
        for slot in SLOTS:
            pipe.llen(slot.processing)
        source, retry, retrying, dead, owners, *processing = await pipe.execute()
        return Lengths(source, sum(processing), retry + retrying, dead, owners)

    async def waiting(self) -> set[bytes]:
        """Return the CDRs that the forwarder still has to deliver."""
        found: set[bytes] = set()
        for key in (KEYS.pending, *[slot.processing for slot in SLOTS]):
            found.update(await self._elements(key))
        for key in (KEYS.retry, KEYS.retrying):
            members = cast("list[bytes]", await self._redis.zrange(key, 0, -1))
            found.update(read_member(member)[1] for member in members)
        return found

    async def dead(self) -> set[bytes]:
        return {json.loads(letter)["cdr"].encode() for letter in await self._elements(KEYS.dead)}

    async def _elements(self, key: str) -> list[bytes]:
        return cast("list[bytes]", await self._redis.lrange(key, 0, -1))
