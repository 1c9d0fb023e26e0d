"""Where a CDR can be in Redis, and whether all that were pushed are accounted for."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from tests.crash.endpoint import POISON

SLOTS = range(1, 65)


def base_of(integrator: str, endpoint: str | None) -> str:
    """Return what the keys of a lane begin with; those without endpoint are the short ones."""
    return f"{integrator}:{endpoint}" if endpoint else integrator


def lists_of(base: str, source: str = "cdr") -> list[str]:
    """Return the keys of CDRs that are on their way: pending, and processing of all slots."""
    slots = [f"{base}:processing:{source}" + (f":{slot}" if slot > 1 else "") for slot in SLOTS]
    return [f"{base}:pending:{source}", *slots]


def retry_sets_of(base: str, source: str = "cdr") -> list[str]:
    """Return the keys of CDRs that wait for another try, and of those that have it at the moment."""
    return [f"{base}:retry:{source}", f"{base}:retrying:{source}"]


async def deferred_in(redis: Redis, base: str, source: str = "cdr") -> Counter[bytes]:
    """Count the CDRs that wait for another try."""
    waiting: Counter[bytes] = Counter()
    for key in retry_sets_of(base, source):
        members: Any = await redis.zrange(key, 0, -1)
        waiting.update(map(_cdr_of, members))
    return waiting


def _cdr_of(member: bytes) -> bytes:
    header, line_feed, body = member.partition(b"\n")
    return body if header.startswith(b"cdr1 ") and line_feed else member


async def dead_in(redis: Redis, base: str, source: str = "cdr") -> Counter[bytes]:
    letters = await redis.lrange(f"{base}:dead:{source}", 0, -1)
    return Counter(json.loads(letter)["cdr"].encode() for letter in letters)


async def left_in(redis: Redis, keys: list[str]) -> dict[str, int]:
    """Return the keys that hold something, with how much."""
    found: dict[str, int] = {}
    for key in keys:
        kind = await redis.type(key)
        if kind != b"none":
            found[key] = await (redis.zcard(key) if kind == b"zset" else redis.llen(key))
    return found


@dataclass(frozen=True)
class Account:
    """What came of all CDRs at one endpoint. `unsure`: those whose push got no reply."""

    endpoint: str
    pushed: Counter[bytes]
    unsure: Counter[bytes]
    taken: Counter[bytes]
    dead: Counter[bytes]
    deferred: Counter[bytes]
    answers: Counter[int] = field(default_factory=Counter)

    @property
    def lost(self) -> Counter[bytes]:
        return self.pushed - (self.taken + self.dead + self.deferred)

    @property
    def duplicates(self) -> Counter[bytes]:
        return (self.taken + self.dead) - self.pushed - self.unsure

    @property
    def wrongly_dead(self) -> list[bytes]:
        return [body for body in self.dead.elements() if not body.startswith(POISON)]

    @property
    def is_right(self) -> bool:
        return not self.lost and not self.wrongly_dead

    def lines(self) -> list[str]:
        pushed, twice = self.pushed.total(), self.duplicates.total()
        poison = sum(number for body, number in self.pushed.items() if body.startswith(POISON))
        return [
            f"endpoint    {self.endpoint}: answered {dict(sorted(self.answers.items()))}",
            f"pushed      {pushed}, of which poison: {poison}",
            f"lost        {self.lost.total()}",
            f"duplicates  {twice} ({twice / max(1, pushed):.2%})",
            f"dead        {self.dead.total()}, of which not poison: {len(self.wrongly_dead)}",
            f"deferred    {self.deferred.total()}",
        ]
