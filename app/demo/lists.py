"""What the demo reads from Redis: how long the lists are, and at the end what is still in them."""

import json
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from app.store.keys import LaneKeys, all_slots

KEYS = LaneKeys("demo", "enigma:notifications:cdr")
SLOTS = all_slots(KEYS.integrator)


@dataclass(frozen=True)
class Lengths:
    """`owners` counts the processes whose lease runs, `parked` the CDRs that were EXHAUSTED at least once."""

    source: int
    processing: int
    parked: int
    dead: int
    owners: int


class Lists:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def lengths(self) -> Lengths:
        pipe = self._redis.pipeline(transaction=False)
        pipe.llen(KEYS.pending)
        pipe.hlen(KEYS.failing)
        pipe.llen(KEYS.dead)
        pipe.exists(*[slot.owner for slot in SLOTS])
        for slot in SLOTS:
            pipe.llen(slot.processing)
        source, parked, dead, owners, *processing = await pipe.execute()
        return Lengths(source, sum(processing), parked, dead, owners)

    async def waiting(self) -> set[bytes]:
        """Return the CDRs that the forwarder still has to deliver."""
        found: set[bytes] = set()
        for key in (KEYS.pending, *[slot.processing for slot in SLOTS]):
            found.update(await self._elements(key))
        return found

    async def dead(self) -> set[bytes]:
        return {json.loads(letter)["cdr"].encode() for letter in await self._elements(KEYS.dead)}

    async def _elements(self, key: str) -> list[bytes]:
        return cast("list[bytes]", await self._redis.lrange(key, 0, -1))
