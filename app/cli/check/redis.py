"""Check Redis itself, and what we may do there."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from app.cli.check.finding import Finding, fail, ok, warn
from app.errors import OperatorRedisError, TransientRedisError
from app.store.client import Link
from app.store.keys import Topology
from app.store.owner import new_process_id
from app.store.preflight import info, is_too_old, refusals

NEARLY_FULL: Final = 0.8
"""Of maxmemory."""

MOST_SECONDS_OFF: Final = 1.0

ACL_LINE: Final = "README has the whole ACL line"

Info = dict[str, Any]
"""What INFO says. Some hosting providers leave out a part."""


async def of_redis(link: Link) -> AsyncIterator[Finding]:
    """Yield the findings. Raises our errors if Redis is away, or allows us nothing at all."""
    where = link.source.redis.shown_url
    said: Info = await link.call("info", lambda: info(link))
    asked = time.time()  # and not before: the first command has to connect
    said |= await link.call("info", lambda: info(link, "server"))
    if said:
        for finding in of_info(said, where, (asked + time.time()) / 2, saves=await _saves(link, said)):
            yield finding
    else:
        yield warn(f"Redis: {where} answers, but its version, persistence, memory and clock are unknown", "grant +info")
    if said.get("role") != "slave":
        for finding in await _rights(link):
            yield finding


async def _saves(link: Link, said: Info) -> bool:
    """Tell whether Redis writes snapshots: by its configuration, or, if we may not read that, by what it has done."""
    try:
        return bool((await link.call("config", lambda: link.commands.config_get("save"))).get("save"))
    except (OperatorRedisError, TransientRedisError):
        return int(said.get("rdb_last_bgsave_time_sec", -1)) >= 0


def of_info(said: Info, where: str, now: float, *, saves: bool) -> Iterator[Finding]:
    """Judge what INFO said at `now` (Unix seconds, by our clock). `saves`: whether snapshots are written."""
    yield _version(said, where)
    if said.get("role") == "slave":
        yield fail("Redis: it is a replica, and takes no writes", "name the master in CDR_REDIS_URL, or the sentinels")
    yield _persistence(said, saves=saves)
    yield from _memory(said)
    yield _clock(said, now)


def _version(said: Info, where: str) -> Finding:
    found = str(said.get("redis_version", "unknown"))
    if found != "unknown" and is_too_old(found):
        return fail(f"Redis: {where} is version {found}", "use 6.2 or newer, or Valkey")
    return ok(f"Redis: {where} is " + (f"Valkey {said['valkey_version']}" if "valkey_version" in said else found))


def _persistence(said: Info, *, saves: bool) -> Finding:
    appends = "appendonly yes, in redis.conf and by CONFIG SET"
    if said.get("aof_enabled"):
        if said.get("aof_last_write_status", "ok") != "ok":
            return fail("Redis: it cannot write its append-only file, and refuses CDRs", "is its disk full?")
        return ok("Redis: it keeps an append-only file")
    if said.get("rdb_last_bgsave_status", "ok") != "ok":
        return fail("Redis: its last snapshot failed, after which it may refuse CDRs", "is its disk full?")
    if saves:
        return warn("Redis: it only writes snapshots: a crash loses all CDRs since the last one", appends)
    return warn("Redis: it keeps nothing on disk, as far as it tells: when it ends, EVERY CDR IN IT IS LOST", appends)


def _memory(said: Info) -> Iterator[Finding]:
    limit, policy = int(said.get("maxmemory", 0)), str(said.get("maxmemory_policy", "noeviction"))
    if not limit:
        yield ok("Redis: it has no maxmemory")
        return
    if policy.startswith("allkeys"):
        yield fail(f"Redis: it throws CDRs away when it is full ({policy})", "maxmemory-policy noeviction")
    elif policy != "noeviction":
        yield warn(f"Redis: it throws leases away when it is full ({policy})", "maxmemory-policy noeviction")
    used = (int(said.get("used_memory", 0)) - int(said.get("mem_not_counted_for_evict", 0))) / limit
    if used >= 1:
        yield fail("Redis: it is full, and refuses what Enigma appends", "raise maxmemory; status says what waits")
    elif used >= NEARLY_FULL:
        yield warn(f"Redis: {used:.0%} of maxmemory is used; full, it refuses what Enigma appends", "raise maxmemory")
    else:
        yield ok(f"Redis: {used:.0%} of maxmemory is used")


def _clock(said: Info, now: float) -> Finding:
    if "server_time_usec" not in said:
        return warn("Redis: its clock cannot be told", "make sure that NTP sets it")
    ahead = int(said["server_time_usec"]) / 1e6 - now
    if abs(ahead) <= MOST_SECONDS_OFF:
        return ok("Redis: its clock is like ours")
    return warn(
        f"Redis: its clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} ours",
        "let NTP set both: receivers refuse signatures that are minutes off",
    )


async def _rights(link: Link) -> list[Finding]:
    try:
        refused = await refusals(link, f"{Topology(link.source).scratch}:{new_process_id()}", link.call)
    except OperatorRedisError as error:
        refused = [str(error)]
    except TransientRedisError as error:
        if error.away:
            raise
        return [fail(f"Redis: it takes no writes: {error}", "nothing can be claimed before it does")]
    missing = [fail(f"Redis: a right is missing: {refusal}", f"grant it: {ACL_LINE}") for refusal in refused]
    return missing or [ok("Redis: we have all the rights that we need")]
