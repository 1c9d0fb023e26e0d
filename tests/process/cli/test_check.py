"""`cdr-forwarder check`: what would go wrong with settings, Redis, lists and neighbours, before it does."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.cdr import History
from app.cli.check.redis import of_info
from app.cli.check.settings import of_settings
from app.config.values import redacted
from app.demo.embedded import EmbeddedRedis
from app.store.retry_set import member_of
from tests.conftest import StartChild
from tests.support.certificates import Authority
from tests.support.harness import environment, eventually, gone, settings_from
from tests.support.http_faults import NO_CONTENT, answers, refused, serve
from tests.support.proxy import RedisProxy, nth
from tests.support.receiver import Receiver
from tests.support.repository import acl_line
from tests.support.servers import KINDS, sent, server_of
from tests.support.world import World

SENSIBLE = {"CDR_LEASE": "10", "CDR_SHUTDOWN_GRACE": "20"}
BALLAST = 20 * 2**20


@dataclass
class Said:
    """What a check has printed."""

    status: int
    findings: list[dict[str, str]]

    def about(self, part: str) -> dict[str, str]:
        """Return the one finding whose statement has this in it."""
        [found] = [one for one in self.findings if part in one["what"]]
        return found

    def level(self, part: str) -> str:
        return self.about(part)["level"]

    @property
    def levels(self) -> set[str]:
        return {one["level"] for one in self.findings}


Check = Callable[..., Awaitable[Said]]


@pytest.fixture
async def check(start_child: StartChild, variables: dict[str, str]) -> Check:
    """Run it with sensible variables, and with those that are given more."""

    async def check(*words: str, **more: str) -> Said:
        child = await start_child(variables | SENSIBLE | more, "check", "--json", *words)
        status = await child.ended()
        said = child.log.read_text()
        assert "Traceback" not in said
        found = Said(status, [json.loads(line) for line in said.splitlines() if line.startswith("{")])
        assert status == ("fail" in found.levels)
        assert all(bool(one["advice"]) == (one["level"] != "ok") for one in found.findings)
        return found

    return check


@pytest.fixture
def on_own(own_redis: EmbeddedRedis) -> dict[str, str]:
    """Variables with a Redis of one's own in place of the shared one."""
    return {"CDR_REDIS_URL": own_redis.url}


async def info_of(client: Redis) -> dict[str, Any]:
    said: dict[str, Any] = await client.info()
    return said


# --- all is well


@dataclass
class Sound:
    """An installation of which nothing is to be said: README's ACL user, TLS, and a live forwarder."""

    variables: dict[str, str]
    admin: Redis
    receiver: Receiver


@asynccontextmanager
async def sound(kind: str, directory: Path, receiver: Receiver, start_child: StartChild) -> AsyncIterator[Sound]:
    login = {"redis_username": "cdr-forwarder", "redis_password": "password", "shutdown_grace": "20", "lease": "10"}
    with EmbeddedRedis(directory, server=server_of(kind)) as redis:
        async with Redis.from_url(redis.url, protocol=2) as admin:
            await sent(admin, acl_line())
            variables = environment(
                redis.url, receiver.url, "cdr-forwarder", source_key="enigma:notifications:cdr", **login
            )
            forwarder = await start_child(variables)
            await eventually(lambda: forwarder.events("slot.taken"))
            yield Sound(variables, admin, receiver)
            assert not forwarder.events("redis.refused")
            await forwarder.kill()


@pytest.mark.parametrize("kind", KINDS)
async def test_all_is_well(kind: str, tmp_path: Path, receiver: Receiver, start_child: StartChild) -> None:
    """For the ACL user of README, on each kind of server; nothing is warned of."""
    async with sound(kind, tmp_path, receiver, start_child) as there:
        child = await start_child(there.variables, "check", "--send")
        assert await child.ended() == 0
        lines = child.log.read_text().splitlines()
        assert [line for line in lines if not line.startswith("ok   ")] == []
        assert len(lines) >= 12
    assert [json.loads(arrival.body)["type"] for arrival in receiver.arrivals] == ["test"]


async def test_a_running_system_is_not_disturbed(tmp_path: Path, receiver: Receiver, start_child: StartChild) -> None:
    """Each CDR is delivered once while it is checked, and no key is there afterwards but those of the forwarder."""
    async with sound("path", tmp_path, receiver, start_child) as there:
        keys = await there.admin.keys()
        for number in range(3):
            await there.admin.rpush("enigma:notifications:cdr", *(f"{number}-{cdr}" for cdr in range(200)))
            assert await (await start_child(there.variables, "check")).ended() == 0
        await eventually(lambda: receiver.bodies.total() == 600)
        await eventually(lambda: gone(there.admin, "enigma:notifications:cdr", "cdr-forwarder:processing:cdr"))
        assert set(receiver.bodies.values()) == {1}
        assert not await there.admin.keys("cdr-forwarder:scratch*")
        its_own = {
            b"cdr-forwarder:processing:cdr:ops",
            b"cdr-forwarder:processing:cdr:report",
            b"cdr-forwarder:minutes:cdr",
        }
        assert {*await there.admin.keys()} - {*keys} <= its_own


async def test_it_is_said_to_people_line_by_line(
    start_child: StartChild, variables: dict[str, str], receiver: Receiver
) -> None:
    """With what to do behind an arrow, and how much must be set right at the end."""
    child = await start_child(variables | {"CDR_REDIS_URL": "redis://127.0.0.1:1/0"}, "check")
    assert await child.ended() == 1
    *lines, last = child.log.read_text().splitlines()
    [failing] = [line for line in lines if line.startswith("fail ")]
    assert failing.endswith("  → is it running, and reachable from here?")
    assert any(line.startswith(f"ok   endpoint webhook: {redacted(receiver.url)}") for line in lines)
    assert last == "1 of these must be fixed"


async def test_a_bad_configuration_is_exit_status_2(start_child: StartChild) -> None:
    """As of every command: there is nothing to look at yet."""
    child = await start_child({"CDR_LEASE": "soon"}, "check")
    assert await child.ended() == 2
    assert "CDR_LEASE" in child.log.read_text()


async def test_no_secret_is_ever_shown(check: Check, variables: dict[str, str], source: str, client: Redis) -> None:
    """Of neither URL, of no credential, and nothing of a CDR; wherever it fails."""
    await client.rpush(source, "0825550142-s3cret")
    secrets = {
        "CDR_WEBHOOK_HEADERS": '{"x-key": "s3cret"}',
        "CDR_WEBHOOK_URL": "http://user:s3cret@nobody.invalid/hook?token=s3cret",
    }
    login = variables["CDR_REDIS_URL"].replace("redis://", "redis://somebody:s3cret@")
    for url in variables["CDR_REDIS_URL"], login, "redis://:s3cret@127.0.0.1:1/0":
        found = await check("--send", CDR_REDIS_URL=url, **secrets)
        assert found.level("nobody.invalid/***: no address") == "fail"
        assert "s3cret" not in json.dumps(found.findings)


# --- Redis


async def test_redis_is_away(check: Check, receiver: Receiver) -> None:
    """The endpoints are looked at all the same."""
    with refused() as url:
        found = await check(CDR_REDIS_URL=url.replace("http", "redis").replace("/hook", "/0"))
    assert found.level("does not answer") == "fail"
    assert found.level(redacted(receiver.url)) == "ok"


@pytest.mark.parametrize("command", ["INFO", "rehearse", "TYPE", "CLIENT LIST"])
async def test_redis_goes_away_half_way(
    command: str, check: Check, redis_server: EmbeddedRedis, receiver: Receiver
) -> None:
    """The same, with what was found before."""
    async with RedisProxy(redis_server) as proxy:
        proxy.loses = nth("reply", command)
        found = await check(CDR_REDIS_URL=proxy.url)
    assert found.level("does not answer") == "fail"
    assert found.level(redacted(receiver.url)) == "ok"


async def test_redis_knows_no_such_password(check: Check) -> None:
    found = await check(CDR_REDIS_USERNAME="nobody", CDR_REDIS_PASSWORD="wrong")
    assert "invalid username-password pair" in found.about("refuses")["what"]
    assert found.level("refuses") == "fail"


async def test_a_replica_is_told(check: Check, own_client: Redis, on_own: dict[str, str]) -> None:
    await own_client.replicaof("127.0.0.1", "1")
    assert (await check(**on_own)).level("it is a replica") == "fail"


async def test_a_master_that_takes_no_writes_is_told(check: Check, own_client: Redis, on_own: dict[str, str]) -> None:
    """It misses its replicas."""
    await own_client.config_set("min-replicas-to-write", "1")
    assert (await check(**on_own)).level("it takes no writes") == "fail"


async def test_an_append_only_file_is_well(check: Check, on_own: dict[str, str]) -> None:
    assert (await check(**on_own)).level("append-only file") == "ok"


async def test_nothing_on_disk_is_told(check: Check) -> None:
    """The shared server has neither an append-only file nor snapshots."""
    assert (await check()).level("EVERY CDR IN IT IS LOST") == "warn"


@pytest.fixture
async def forgetful(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedRedis, Redis]]:
    """A Redis that only writes snapshots."""
    with EmbeddedRedis(tmp_path, appendonly=False) as redis:
        async with Redis.from_url(redis.url, protocol=2) as admin:
            await admin.config_set("save", "3600 1")
            yield redis, admin


async def test_snapshots_alone_are_told(check: Check, forgetful: tuple[EmbeddedRedis, Redis]) -> None:
    redis, _ = forgetful
    assert (await check(CDR_REDIS_URL=redis.url)).level("it only writes snapshots") == "warn"


async def test_snapshots_are_told_by_who_may_not_see_the_configuration(
    check: Check, forgetful: tuple[EmbeddedRedis, Redis]
) -> None:
    """As README's user: by what has been written."""
    redis, admin = forgetful
    await sent(admin, acl_line())
    login = {"CDR_REDIS_USERNAME": "cdr-forwarder", "CDR_REDIS_PASSWORD": "password"}
    names = {"CDR_INTEGRATOR": "cdr-forwarder", "CDR_SOURCE_KEY": "enigma:notifications:cdr"}
    assert (await check(CDR_REDIS_URL=redis.url, **login, **names)).level("as far as it tells") == "warn"
    await admin.bgsave()
    await eventually(lambda: snapshot_done(admin))
    assert (await check(CDR_REDIS_URL=redis.url, **login, **names)).level("it only writes snapshots") == "warn"


async def snapshot_done(admin: Redis) -> bool:
    return int((await info_of(admin))["rdb_last_bgsave_time_sec"]) >= 0


async def test_a_snapshot_that_failed_is_told(
    check: Check, forgetful: tuple[EmbeddedRedis, Redis], tmp_path: Path
) -> None:
    """Something stands where its file should be; Redis takes no writes then."""
    redis, admin = forgetful
    (tmp_path / "dump.rdb").mkdir()
    await admin.bgsave()
    await eventually(lambda: snapshot_failed(admin))
    found = await check(CDR_REDIS_URL=redis.url)
    assert found.level("its last snapshot failed") == "fail"
    assert found.level("it takes no writes") == "fail"
    (tmp_path / "dump.rdb").rmdir()  # or it would not stop


async def snapshot_failed(admin: Redis) -> bool:
    return str((await info_of(admin))["rdb_last_bgsave_status"]) != "ok"


@pytest.mark.parametrize(
    ("policy", "part", "level"),
    [
        ("noeviction", "of maxmemory is used", "ok"),
        ("volatile-ttl", "it throws leases away when it is full (volatile-ttl)", "warn"),
        ("allkeys-lru", "it throws CDRs away when it is full (allkeys-lru)", "fail"),
    ],
)
async def test_what_a_full_redis_throws_away_is_told(
    policy: str, part: str, level: str, check: Check, own_client: Redis, on_own: dict[str, str]
) -> None:
    """Before it is full."""
    await own_client.config_set("maxmemory-policy", policy)
    await own_client.config_set("maxmemory", "1gb")
    assert (await check(**on_own)).level(part) == level


@pytest.mark.parametrize(
    ("used", "part", "level"),
    [
        (0.5, "of maxmemory is used", "ok"),
        (0.9, "of maxmemory is used; full, it refuses what Enigma appends", "warn"),
        (1.1, "it is full, and refuses what Enigma appends", "fail"),
    ],
)
async def test_how_full_redis_is_is_told(
    used: float, part: str, level: str, check: Check, own_client: Redis, on_own: dict[str, str]
) -> None:
    """And that no right is missing, also where it is full."""
    await own_client.setrange("ballast", BALLAST, b"x")
    memory = await info_of(own_client)
    counted = memory["used_memory"] - memory["mem_not_counted_for_evict"]
    await own_client.config_set("maxmemory", int(counted / used))
    found = await check(**on_own)
    assert found.level(part) == level
    assert found.level("we have all the rights that we need") == "ok"


GOOD: dict[str, Any] = {"redis_version": "7.2.4", "aof_enabled": 1, "server_time_usec": 1_700_000_000_000_000}


@pytest.mark.parametrize(
    ("change", "part", "level"),
    [
        ({}, "is 7.2.4", "ok"),
        ({"redis_version": "6.0.20"}, "is version 6.0.20", "fail"),
        ({"valkey_version": "8.1.1"}, "is Valkey 8.1.1", "ok"),
        ({"aof_last_write_status": "err"}, "it cannot write its append-only file", "fail"),
        ({"server_time_usec": 1_700_000_000_900_000}, "its clock is like ours", "ok"),
        ({"server_time_usec": 1_700_000_001_500_000}, "its clock is 1.5 s ahead of ours", "warn"),
        ({"server_time_usec": 1_699_999_940_000_000}, "its clock is 60.0 s behind ours", "warn"),
        ({"maxmemory": 1000, "used_memory": 1200, "mem_not_counted_for_evict": 500}, "70% of maxmemory is used", "ok"),
    ],
)
def test_what_redis_says_of_itself_is_judged(change: dict[str, Any], part: str, level: str) -> None:
    """What no server here can be brought to say."""
    found = of_info(GOOD | change, "redis://here", 1_700_000_000.0, saves=False)
    assert [one.level for one in found if part in one.what] == [level]


def test_what_redis_does_not_say_of_itself_is_no_error() -> None:
    """Some who host it leave out a part."""
    found = list(of_info({"redis_mode": "standalone"}, "redis://here", time.time(), saves=False))
    assert {one.level for one in found} == {"ok", "warn"}


# --- rights


@pytest.fixture
async def user(client: Redis, integrator: str, source: str) -> AsyncIterator[str]:
    """README's ACL user, for the keys of this test."""
    line = acl_line().replace("~enigma:notifications:cdr", f"~{source}").replace("cdr-forwarder", integrator)
    await sent(client, line)
    yield integrator
    await client.acl_deluser(integrator)


@pytest.mark.parametrize(
    ("taken", "part", "level"),
    [
        ("-lmove", "a right is missing: LMOVE", "fail"),
        ("-hset", "a right is missing: HSET", "fail"),
        ("-blmove", "a right is missing: BLMOVE", "fail"),
        ("-evalsha", "a right is missing: ", "fail"),
        ("-info", "its version, persistence, memory and clock are unknown", "warn"),
        ("-client", "a right is missing: ", "fail"),
        ("-client +client|setname", "cannot tell who else takes from the source", "warn"),
        ("-type", "refuses", "fail"),
        ("-zcard", "a right is missing: ZCARD", "fail"),
        ("-scan", "lists: cannot be read", "fail"),
    ],
)
async def test_a_missing_right_is_told(
    taken: str, part: str, level: str, check: Check, user: str, client: Redis
) -> None:
    """With the name of the command, where Redis tells it."""
    await sent(client, f"ACL SETUSER {user} {taken}")
    found = await check(CDR_REDIS_USERNAME=user, CDR_REDIS_PASSWORD="password")
    assert level in {one["level"] for one in found.findings if part in one["what"]}


async def test_a_source_that_is_not_ours_to_read_is_told(check: Check, user: str, client: Redis) -> None:
    """The pattern of the source was forgotten."""
    await sent(client, f"ACL SETUSER {user} resetkeys ~{user}:*")
    found = await check(CDR_REDIS_USERNAME=user, CDR_REDIS_PASSWORD="password")
    assert found.level("refuses") == "fail"


# --- lists


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("-source", "list"),
        (":processing:cdr", "list"),
        (":processing:cdr:64", "list"),
        (":dead:cdr", "list"),
        (":crm:pending:cdr", "list"),
        (":crm:processing:cdr:2", "list"),
        (":minutes:cdr", "hash"),
        (":processing:cdr:owner", "string"),
        (":crm:processing:cdr:ops", "hash"),
    ],
)
async def test_a_key_of_another_type_is_told(
    key: str, wanted: str, check: Check, variables: dict[str, str], client: Redis, integrator: str
) -> None:
    """Any that we use, of any lane and slot."""
    variables["CDR_ENDPOINTS__CRM__URL"] = variables.pop("CDR_WEBHOOK_URL")
    await client.zadd(f"{integrator}{key}", {"x": 1})
    found = await check()
    assert found.level(f"{integrator}{key} is a zset, and must be a {wanted}") == "fail"


async def test_what_waits_is_told(check: Check, client: Redis, source: str) -> None:
    """It is no fault."""
    await client.rpush(source, *range(7))
    assert (await check()).level(f"source: 7 CDRs wait in {source}") == "ok"


async def test_dead_letters_are_told(check: Check, client: Redis, dead: str) -> None:
    """With the command that lists them."""
    await client.rpush(dead, "x", "y")
    found = (await check()).about("endpoint webhook: 2 dead letters")
    assert (found["level"], found["advice"]) == ("warn", "see cdr-forwarder dead-letters list --endpoint webhook")


async def test_dead_letters_of_a_time_before_several_endpoints_are_told(
    check: Check, variables: dict[str, str], client: Redis, dead: str
) -> None:
    """By the name under which they are listed."""
    variables["CDR_ENDPOINTS__CRM__URL"] = variables.pop("CDR_WEBHOOK_URL")
    await client.rpush(dead, "x")
    found = (await check()).about("1 dead letters")
    assert found["advice"].endswith("--endpoint webhook")


async def test_what_fails_is_told(check: Check, client: Redis, integrator: str) -> None:
    """It waits in the retry set, or is handed out."""
    for number, place in enumerate(("retry", "retrying")):
        member = member_of(f"t-{number}", History(attempts=3, strikes=1), b"cdr")
        await client.zadd(f"{integrator}:{place}:cdr", {member: 10**13})
    assert (await check()).level("endpoint webhook: 2 CDRs have failed, and wait for another try") == "warn"


@pytest.mark.parametrize("place", ["retry", "retrying"])
async def test_a_retry_set_of_another_type_is_told(
    place: str, check: Check, variables: dict[str, str], client: Redis, integrator: str
) -> None:
    """Of each lane."""
    variables["CDR_ENDPOINTS__CRM__URL"] = variables.pop("CDR_WEBHOOK_URL")
    await client.rpush(f"{integrator}:crm:{place}:cdr", "x")
    found = await check()
    assert found.level(f"{integrator}:crm:{place}:cdr is a list, and must be a zset") == "fail"


@pytest.mark.parametrize(("more", "to"), [("", "crm"), ("bi", "<endpoint>")])
async def test_what_is_left_over_is_told(
    more: str, to: str, check: Check, variables: dict[str, str], client: Redis, integrator: str
) -> None:
    """With the command that moves it."""
    variables["CDR_ENDPOINTS__CRM__URL"] = variables.pop("CDR_WEBHOOK_URL")
    if more:
        variables[f"CDR_ENDPOINTS__{more}__URL"] = variables["CDR_ENDPOINTS__CRM__URL"]
    await client.rpush(f"{integrator}:gone:pending:cdr", "x", "y")
    found = (await check()).about("endpoint gone: it is not configured, and 2 CDRs wait for it")
    assert found["level"] == "warn"
    assert found["advice"].endswith(f"cdr-forwarder reroute gone {to}")


# --- who else is there


async def test_no_live_forwarder_is_told(check: Check) -> None:
    """Normal before the first start, and a reason to wake somebody after it."""
    assert (await check()).level("no live forwarder") == "warn"


async def test_another_source_of_a_live_owner_is_told(
    check: Check, start_child: StartChild, variables: dict[str, str], source: str
) -> None:
    """A start would end with 2."""
    forwarder = await start_child(variables | {"CDR_SOURCE_KEY": f"{source}-2"})
    await eventually(lambda: forwarder.events("slot.taken"))
    assert (await check()).level(f"takes from {source}-2, and we from {source}") == "fail"


async def test_other_endpoints_of_a_live_owner_are_told(
    check: Check, start_child: StartChild, variables: dict[str, str]
) -> None:
    """A rolling change looks like this."""
    url = variables.pop("CDR_WEBHOOK_URL")
    names = {"CDR_ENDPOINTS__CRM__URL": url, "CDR_ENDPOINTS__BI__URL": url}
    forwarder = await start_child(variables | names)
    await eventually(lambda: forwarder.events("slot.taken"))
    found = await check(CDR_ENDPOINTS__CRM__URL=url)
    assert found.level("has the endpoints bi, crm, and we crm") == "warn"


async def is_blocked(admin: Redis, name: str) -> bool:
    return any(one["name"] == name and "b" in one["flags"] for one in await admin.client_list())


async def test_an_old_script_that_pops_is_told(
    check: Check, redis_server: EmbeddedRedis, client: Redis, source: str
) -> None:
    """What it takes no forwarder ever sees. Our own clients are not told of, nor what is gone."""
    async with Redis.from_url(redis_server.url, protocol=2, client_name="old-script") as script:
        waiting = asyncio.ensure_future(script.blpop([source], timeout=0))
        await eventually(lambda: is_blocked(client, "old-script"))
        found = (await check()).about("(old-script), not of ours, took from a list (BLPOP)")
        await client.rpush(source, "x")
        await waiting
    assert found["level"] == "warn"
    assert source in found["advice"]
    assert (await check()).level("nobody else takes from lists") == "ok"


async def test_who_pops_in_another_database_is_not_told(check: Check, redis_server: EmbeddedRedis) -> None:
    """It cannot be the source."""
    async with Redis.from_url(redis_server.url.replace("/0", "/1"), protocol=2) as script:
        await script.lpop("list")
        assert (await check()).level("nobody else takes from lists") == "ok"


async def test_a_forwarder_of_another_installation_is_told(
    check: Check, start_child: StartChild, variables: dict[str, str], integrator: str
) -> None:
    """Two integrators on one source share its CDRs out between them: each gets a part."""
    other = await start_child(variables | {"CDR_INTEGRATOR": f"{integrator}-2"})
    await eventually(lambda: other.events("slot.taken"))
    assert (await check()).level(f"clients: the forwarder of {integrator}-2 takes from the same list") == "fail"


async def test_a_forwarder_of_another_source_is_not_told(check: Check, world: World) -> None:
    """It takes nothing from us."""
    other = await world.launch(
        world.variables | {"CDR_INTEGRATOR": f"{world.integrator}-2", "CDR_SOURCE_KEY": f"{world.source}-2"}
    )
    await eventually(lambda: other.events("slot.taken"))
    await eventually(lambda: claims(world.redis))
    assert (await check()).level("nobody else takes from lists") == "ok"


async def claims(admin: Redis) -> bool:
    return any(one["cmd"] == "blmove" and "b" in one["flags"] for one in await admin.client_list())


async def test_our_own_forwarders_are_not_told(
    check: Check, start_child: StartChild, variables: dict[str, str], client: Redis
) -> None:
    """However many there are."""
    for _ in range(2):
        forwarder = await start_child(variables)
        await eventually(lambda child=forwarder: child.events("slot.taken"))  # type: ignore[misc]
    await eventually(lambda: claims(client))
    found = await check()
    assert found.level("2 of 64 slots have a live forwarder") == "ok"
    assert found.level("nobody else takes from lists") == "ok"


# --- settings


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"lease": "9"}, "CDR_LEASE is 9 s"),
        ({"webhook_timeout": "21"}, "an attempt may last 21 s, and CDR_SHUTDOWN_GRACE is 20 s"),
        ({"webhook_url": "http://crm.example/", "webhook_bearer_token": "x"}, "http://crm.example/ is not encrypted"),
        ({"webhook_url": "http://user:pass@crm.example/"}, "http://crm.example/ is not encrypted"),
        ({"webhook_url": "http://10.0.0.1/", "webhook_headers": '{"x": "y"}'}, "http://10.0.0.1/ is not encrypted"),
        (
            {
                "webhook_oauth2_token_url": "http://login.example/token",
                "webhook_oauth2_client_id": "forwarder",
                "webhook_oauth2_client_secret": "x",
            },
            "OAUTH2_TOKEN_URL is not encrypted",
        ),
        ({"webhook_tls_verify": "false"}, "TLS_VERIFY is false"),
        ({"redis_url": "rediss://localhost/0?ssl_cert_reqs=none"}, "CDR_REDIS_URL has ssl_cert_reqs=none"),
        (
            {"redis_url": "rediss://localhost/0?ssl_check_hostname=false"},
            "another server could take the place of Redis",
        ),
    ],
)
def test_settings_that_do_not_go_well_together_are_told(change: dict[str, str], part: str) -> None:
    """They can be used, and a person should know what of it."""
    defaults = {"lease": "15", "shutdown_grace": "20"}
    url, redis_url = change.pop("webhook_url", "https://crm.example/"), change.pop("redis_url", "redis://localhost")
    [found] = of_settings(settings_from(environment(redis_url, url, "test", **(defaults | change))))
    assert found.level == "warn"
    assert part in found.what
    assert found.advice


def test_an_endpoint_that_no_source_names_is_told() -> None:
    """It gets nothing, and somebody has forgotten it."""
    variables = environment("redis://localhost", "", "test", lease="15", shutdown_grace="20")
    del variables["CDR_WEBHOOK_URL"], variables["CDR_SOURCE_KEY"]
    variables |= {f"CDR_ENDPOINTS__{name}__URL": "https://crm.example/" for name in ("A", "B", "C")}
    variables |= {"CDR_SOURCES__CALLS__KEY": "calls", "CDR_SOURCES__CALLS__ENDPOINTS": "b"}
    [found] = of_settings(settings_from(variables))
    assert (found.level, found.what) == ("warn", "settings: no source names a, c: nothing is delivered there")


@pytest.mark.parametrize(
    ("url", "change"),
    [
        ("https://crm.example/", {"webhook_bearer_token": "x"}),
        ("http://localhost:9000/", {"webhook_bearer_token": "x"}),
        ("http://127.0.0.1:9000/", {"webhook_bearer_token": "x"}),
        ("http://[::1]:9000/", {"webhook_bearer_token": "x"}),
        ("http://crm.example/", {}),
        ("https://crm.example/", {"webhook_timeout": "20", "lease": "10"}),
    ],
)
def test_settings_that_go_well_together(url: str, change: dict[str, str]) -> None:
    """One line says so."""
    defaults = {"lease": "15", "shutdown_grace": "20"}
    [found] = of_settings(settings_from(environment("redis://localhost", url, "test", **(defaults | change))))
    assert found.level == "ok"


# --- endpoints


async def test_each_endpoint_is_looked_at(
    check: Check, variables: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    """One that fails hides no other; without --send, nothing arrives anywhere."""
    authority = Authority(tmp_path)
    del variables["CDR_WEBHOOK_URL"]
    variables |= {"CDR_ENDPOINTS__CRM__URL": receiver.url}
    async with serve(answers(NO_CONTENT), authority.server()) as server:
        with refused() as nowhere:
            variables |= {"CDR_ENDPOINTS__BI__URL": nowhere, "CDR_ENDPOINTS__OLD__URL": server.url}
            variables |= {"CDR_ENDPOINTS__OLD__CA_FILE": str(authority.ca_file)}
            found = await check()
    assert found.level("endpoint bi: ") == "fail"
    assert found.level(f"endpoint crm: {redacted(receiver.url)} connects") == "ok"
    assert found.level("endpoint old: ") == "ok"
    assert receiver.arrivals == []
    assert server.requests == []


async def test_with_send_each_endpoint_gets_one_test_cdr(
    check: Check, variables: dict[str, str], receiver: Receiver
) -> None:
    """Past Redis: it is in no list, and is not tried again."""
    del variables["CDR_WEBHOOK_URL"]
    variables |= {"CDR_ENDPOINTS__CRM__URL": receiver.url, "CDR_ENDPOINTS__BI__URL": receiver.url}
    receiver.status = 503
    found = await check("--send")
    assert found.level("endpoint crm: it did not accept a test CDR: 503") == "fail"
    assert found.level("endpoint bi: it did not accept a test CDR: 503") == "fail"
    assert len(receiver.arrivals) == 2


async def test_the_test_cdr_of_send_has_the_format_of_batches(
    check: Check, variables: dict[str, str], receiver: Receiver
) -> None:
    """Where the endpoint takes batches: what it takes is what will come."""
    variables |= {"CDR_WEBHOOK_BATCH_SIZE": "10", "CDR_WEBHOOK_BATCH_FORMAT": "json"}
    found = await check("--send")
    assert found.level("endpoint webhook: it took a test CDR: 204") == "ok"
    [arrival] = receiver.arrivals
    assert arrival.webhook_id.startswith("batch_")
    assert arrival.body == b"[%b]" % arrival.members[0].body
