"""What must be true of Redis before anything is claimed: its version, and what we may do there."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis
from app.errors import RedisUnusableError
from app.store.client import Link
from app.store.preflight import preflight
from tests.conftest import StartChild
from tests.support.harness import environment, eventually, gone, running, settings_from
from tests.support.old_redis import OldRedis
from tests.support.receiver import Receiver
from tests.support.repository import acl_line
from tests.support.servers import KINDS, server_of
from tests.support.world import World

IN_SCRIPTS = (
    *("time", "pexpire", "set", "get", "pttl", "type", "del"),
    *("rpush", "lpush", "rpop", "lpop", "lmove", "lpos", "lindex", "lset", "lrange", "llen", "lrem"),
    *("hset", "hget", "hgetall", "hlen", "hdel"),
    *("zadd", "zrem", "zcard", "zscore", "zrange", "zrangebyscore", "zrevrangebyscore"),
)
OUTSIDE = ("blmove", "scan", "evalsha", "script|load", "info")
CONVENIENT = ("client|setname", "client|list", "client|unblock", "select")
MINIMAL = [f"+{command}" for command in (*IN_SCRIPTS, *OUTSIDE, *CONVENIENT)]

IMPATIENT = Timings(operator_pause=0.05)
"""Try again soon where a person is waited for."""


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


def names(said: list[EventDict]) -> list[str]:
    return [event["event"] for event in said]


# --- the version


@asynccontextmanager
async def a_link(url: str) -> AsyncIterator[Link]:
    link = Link(settings_from(environment(url, "http://127.0.0.1:9/", "test")).sources[0], "test", IMPATIENT)
    try:
        yield link
    finally:
        await link.aclose()


@pytest.mark.parametrize("version", ["2.8.24", "5.0.14", "6.0.20"])
async def test_a_redis_that_is_too_old_is_refused(version: str) -> None:
    """It has no LMOVE: nothing can be claimed with it."""
    redis = OldRedis(version)
    async with redis.listening(), a_link(redis.url) as link:
        with pytest.raises(RedisUnusableError, match=f"this Redis is {version}; 6.2 or newer is needed"):
            await preflight(link, "scratch")
    assert not redis.commands["EVALSHA"]


@pytest.mark.parametrize("version", ["6.2.0", "7.0.15", "7.2.4", "8.10.0", "10.0.0"])
async def test_a_redis_that_is_new_enough_is_taken(version: str) -> None:
    """Versions are compared as numbers. Valkey says 7.2.4, whatever its own is."""
    redis = OldRedis(version)
    async with redis.listening(), a_link(redis.url) as link:
        await preflight(link, "scratch")
    assert redis.commands["EVALSHA"]


async def test_a_forwarder_ends_with_2_where_redis_is_too_old(start_child: StartChild) -> None:
    """One clear line, and no traceback."""
    redis = OldRedis("5.0.14")
    async with redis.listening():
        child = await start_child(environment(redis.url, "http://127.0.0.1:9/", "test"), "run")
        assert await child.ended() == 2
    [event] = child.events("redis.unusable")
    assert event["error"] == "CDR_REDIS_URL: this Redis is 5.0.14; 6.2 or newer is needed (or Valkey)"
    assert "Traceback" not in child.log.read_text()


# --- rights


@pytest.fixture
def limited(variables: dict[str, str], integrator: str) -> dict[str, str]:
    """CDR_* variables of a forwarder that is an ACL user, named like the integrator."""
    return variables | {"CDR_REDIS_USERNAME": integrator, "CDR_REDIS_PASSWORD": "any"}


async def make_user(client: Redis, name: str, *rights: str) -> None:
    """Make a user with these rights, and no others."""
    words: list[Any] = ["SETUSER", name, "reset", "on", "nopass", *rights]
    await client.execute_command("ACL", *words)  # type: ignore[no-untyped-call]


async def grant(client: Redis, name: str, *rights: str) -> None:
    await client.execute_command("ACL", "SETUSER", name, *rights)  # type: ignore[no-untyped-call]


@pytest.fixture
async def user(client: Redis, integrator: str, source: str) -> AsyncIterator[str]:
    """An ACL user with no more rights than are needed."""
    await make_user(client, integrator, f"~{source}", f"~{integrator}:*", *MINIMAL)
    yield integrator
    await client.acl_deluser(integrator)


@pytest.mark.parametrize("command", [*IN_SCRIPTS, "blmove"])
async def test_a_missing_right_is_named_and_waited_for(
    command: str, user: str, world: World, limited: dict[str, str], said: list[EventDict]
) -> None:
    """Nothing is claimed without it: half of a move would be a lost CDR. Once granted, all goes on."""
    # given: a user who may not run one command
    await world.redis.rpush(world.source, "cdr")
    await grant(world.redis, user, f"-{command}")
    async with running(settings_from(limited), IMPATIENT):
        # then: an error says which
        missing = await eventually(lambda: [event for event in said if event["event"] == "rights.missing"])
        assert missing[0]["log_level"] == "error"
        assert [refusal.split(":")[0].lower() for refusal in missing[0]["refusals"]] == [command]
        assert await world.redis.lrange(world.source, 0, -1) == [b"cdr"]
        assert "slot.taken" not in names(said)
        # when somebody grants it
        await grant(world.redis, user, f"+{command}")
        await eventually(lambda: gone(world.redis, world.source, world.processing))
    assert world.receiver.bodies == {b"cdr": 1}


@pytest.mark.parametrize("command", ["evalsha", "client|setname"])
async def test_a_right_without_which_nothing_can_be_asked_is_named_too(
    command: str, user: str, world: World, limited: dict[str, str], said: list[EventDict]
) -> None:
    """Here it is Redis' own refusal that says which."""
    await world.redis.rpush(world.source, "cdr")
    await world.redis.script_flush()
    await grant(world.redis, user, f"-{command.partition('|')[0]}")
    async with running(settings_from(limited), IMPATIENT):
        refused = await eventually(lambda: [event for event in said if event["event"] == "redis.refused"])
        assert refused[0]["log_level"] == "error"
        assert command.partition("|")[0] in refused[0]["error"].lower()
        assert await world.redis.lrange(world.source, 0, -1) == [b"cdr"]
        await grant(world.redis, user, f"+{command}")
        await eventually(lambda: world.receiver.bodies[b"cdr"])


async def test_a_source_that_is_not_ours_to_read_is_waited_for(
    user: str, world: World, limited: dict[str, str], said: list[EventDict]
) -> None:
    """The pattern of the source was forgotten: told as an error, and cured by granting it."""
    await world.redis.rpush(world.source, "cdr")
    await grant(world.redis, user, "resetkeys", f"~{world.integrator}:*")
    async with running(settings_from(limited), IMPATIENT):
        refused = await eventually(lambda: [event for event in said if event["event"] == "redis.refused"])
        assert refused[0]["log_level"] == "error"
        assert await world.redis.lrange(world.source, 0, -1) == [b"cdr"]
        await grant(world.redis, user, f"~{world.source}")
        await eventually(lambda: world.receiver.bodies[b"cdr"])


async def test_a_right_to_claim_that_is_taken_away_is_told(
    user: str, world: World, limited: dict[str, str], said: list[EventDict]
) -> None:
    """The other way of claiming takes over, one CDR at a time: slower, so that somebody should know why."""
    async with running(settings_from(limited), IMPATIENT):
        await eventually(lambda: "slot.taken" in names(said))
        await grant(world.redis, user, "-lmove")
        await world.redis.rpush(world.source, "a", "b", "c")
        await eventually(lambda: world.receiver.bodies.total() == 3)
        told = await eventually(lambda: [event for event in said if event["event"] == "redis.refused"], deadline=5)
        assert told[0]["log_level"] == "error"


async def test_without_info_all_goes_on(
    user: str, world: World, limited: dict[str, str], said: list[EventDict]
) -> None:
    """It is often withheld, and nothing but the version is asked of it."""
    await grant(world.redis, user, "-info")
    await world.redis.rpush(world.source, "cdr")
    async with running(settings_from(limited), IMPATIENT):
        await eventually(lambda: world.receiver.bodies[b"cdr"])
    assert "rights.missing" not in names(said)


async def test_a_rehearsal_leaves_nothing_behind(user: str, client: Redis, limited: dict[str, str]) -> None:
    """No scratch key outlives the trial, and nothing that was there is touched."""
    async with running(settings_from(limited), IMPATIENT):
        await eventually(lambda: client.exists(f"{user}:processing:cdr:owner"))
        assert [key async for key in client.scan_iter(f"{user}:scratch*")] == []


@pytest.mark.parametrize("state", ["a replica", "a master without its replicas"])
async def test_a_redis_that_takes_no_writes_just_now_is_not_a_missing_right(
    state: str, own_redis: EmbeddedRedis, own_client: Redis, receiver: Receiver, integrator: str, said: list[EventDict]
) -> None:
    """A failover is under way while we start: nobody has to grant anything."""
    variables = environment(own_redis.url, receiver.url, integrator)
    if state == "a replica":
        await own_client.replicaof("127.0.0.1", "1")
    else:
        await own_client.config_set("min-replicas-to-write", "1")
    async with running(settings_from(variables), IMPATIENT):
        await eventually(lambda: {"rights.missing", "redis.refused"} & set(names(said)))
        await own_client.replicaof("NO", "ONE")
        await own_client.config_set("min-replicas-to-write", "0")
        await eventually(lambda: own_client.exists(f"{integrator}:processing:cdr:owner"))
    assert "rights.missing" not in names(said)
    assert {event["log_level"] for event in said if event["event"] == "redis.refused"} == {"warning"}


# --- the line that README gives


def rights_in_readme() -> list[str]:
    """Return what README's ACL SETUSER line grants, in its words."""
    found = re.search(r"^ACL SETUSER \S+ on >\S+ (.*)$", acl_line())
    assert found, "README has no ACL SETUSER line"
    return found[1].split()


@asynccontextmanager
async def the_whole_work(redis: EmbeddedRedis, user: str, receiver: Receiver) -> AsyncIterator[None]:
    """Have a forwarder of this user do everything that one does: sweep, adopt, claim, ack, defer, bury."""
    source, processing = "enigma:notifications:cdr", f"{user}:processing:cdr"
    refusals = Counter({b"flaky": 1})

    def judge(body: bytes) -> int:
        refusals[body] -= 1
        return 400 if body == b"poison" else 503 if refusals[body] >= 0 else 204

    receiver.judge = judge
    login = {"redis_username": user, "redis_password": "any", "sweep_interval": "0.2"}
    variables = environment(redis.url, receiver.url, user, source_key=source, **login)
    async with Redis.from_url(redis.url, protocol=2) as admin:
        await admin.rpush(processing, "stray")
        await admin.rpush(f"{processing}:9", "orphan")
        await admin.rpush(source, "cdr", "flaky", "poison")
        async with running(settings_from(variables), Timings(between_rejections=0.1)):
            await eventually(lambda: gone(admin, source, processing, f"{processing}:9"))
            await admin.rpush(source, "late")  # accepted, so that the poison is rejected for what it is
            await eventually(lambda: gone(admin, source, processing, f"{user}:retry:cdr", f"{user}:retrying:cdr"))
        assert await admin.llen(f"{user}:dead:cdr") == 1
        assert not await admin.exists(f"{processing}:owner")
        yield


@pytest.mark.parametrize("server", KINDS)
@pytest.mark.parametrize("rights", ["README's", "minimal"])
async def test_the_rights_that_are_documented_are_enough(
    rights: str, server: str, tmp_path: Path, receiver: Receiver, said: list[EventDict]
) -> None:
    """For everything that a forwarder does, on each kind of server; Redis never refuses anything."""
    minimal = ["~enigma:notifications:cdr", "~cdr-forwarder:*", *MINIMAL]
    async with EmbeddedRedis(tmp_path, server=server_of(server), appendonly=False) as redis:
        async with Redis.from_url(redis.url, protocol=2) as admin:
            await make_user(admin, "cdr-forwarder", *(minimal if rights == "minimal" else rights_in_readme()))
        async with the_whole_work(redis, "cdr-forwarder", receiver):
            assert receiver.bodies == dict.fromkeys([b"stray", b"orphan", b"cdr", b"flaky", b"late"], 1)
    assert not {"redis.refused", "rights.missing"} & set(names(said))
