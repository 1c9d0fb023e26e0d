"""`cdr-forwarder reroute`: what waits for an endpoint that is gone reaches another one, every CDR of it."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from app.cdr import History
from app.demo.embedded import EmbeddedRedis
from app.store.retry_set import member_of, read_member
from tests.conftest import StartChild
from tests.support.harness import eventually
from tests.support.letters import raw_letter
from tests.support.proxy import RedisProxy, at_random
from tests.support.receiver import Receiver
from tests.support.world import World

Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
async def run(start_child: StartChild, variables: dict[str, str]) -> Run:
    async def run(*words: str, **more: str) -> tuple[int, str]:
        child = await start_child(variables | more, "reroute", *words)
        status = await child.ended(60)
        assert "Traceback" not in child.log.read_text()
        return status, child.log.read_text()

    return run


@pytest.fixture
def several(variables: dict[str, str], receiver: Receiver) -> None:
    """Configure the endpoints `bi` and `billing`; `crm` is gone."""
    del variables["CDR_WEBHOOK_URL"]
    variables |= {"CDR_ENDPOINTS__BI__URL": receiver.url, "CDR_ENDPOINTS__BILLING__URL": receiver.url}


async def leave_behind(client: Redis, integrator: str, number: int = 3) -> list[bytes]:
    """Return what waits for `crm`, oldest first."""
    claimed, orphan, pending = (
        [f"{name} {n}".encode() for n in range(number)] for name in ("claimed", "orphan", "new")
    )
    await client.rpush(f"{integrator}:crm:processing:cdr", *claimed)
    await client.rpush(f"{integrator}:crm:processing:cdr:7", *orphan)
    await client.rpush(f"{integrator}:crm:pending:cdr", *pending)
    await client.hset(f"{integrator}:crm:processing:cdr:7:ops", "1", "1")
    return claimed + orphan + pending


async def in_retry_set(client: Redis, key: str) -> list[bytes]:
    """Return the CDRs in a retry set; each of them is due, and marked as replayed."""
    seconds, microseconds = await client.time()
    members: list[Any] = await client.zrangebyscore(key, "-inf", seconds * 1000 + microseconds // 1000)
    assert len(members) == await client.zcard(key)
    read = [read_member(member) for member in members]
    assert all(history.replayed for history, _ in read)
    return [body for _, body in read]


async def keys_of_crm(client: Redis, integrator: str) -> list[bytes]:
    return [key async for key in client.scan_iter(f"{integrator}:crm:*")]


@pytest.mark.usefixtures("several")
async def test_all_that_waits_is_moved_into_the_retry_set(run: Run, client: Redis, integrator: str) -> None:
    """Due now, and marked as replayed; what is pending there already is left alone."""
    await client.rpush(f"{integrator}:bi:pending:cdr", b"was here")
    waiting = await leave_behind(client, integrator, 700)
    assert await run("crm", "bi") == (0, "2100 CDRs and 0 dead letters moved from crm to bi\n")
    assert Counter(await in_retry_set(client, f"{integrator}:bi:retry:cdr")) == Counter(waiting)
    assert await client.lrange(f"{integrator}:bi:pending:cdr", 0, -1) == [b"was here"]
    assert await keys_of_crm(client, integrator) == []


@pytest.mark.usefixtures("several")
async def test_what_was_deferred_keeps_its_attempts(run: Run, client: Redis, integrator: str) -> None:
    """Strikes and rejections stay with the former endpoint; what has no header that can be read has no history."""
    history = History(7, 2, first_failed_at=1, first_strike_at=2, last_failed_at=3, last_result="http_5xx")
    history = replace(history, first_rejected_at=4)
    await client.zadd(f"{integrator}:crm:retry:cdr", {member_of("a-1", history, b"deferred\n\xff"): 10**15})
    await client.zadd(f"{integrator}:crm:retrying:cdr", {member_of("a-2", history, b"handed out"): 10**15})
    await client.zadd(f"{integrator}:crm:retry:cdr", {b"put there by hand": 5})
    assert await run("crm", "bi") == (0, "3 CDRs and 0 dead letters moved from crm to bi\n")
    members: list[Any] = await client.zrange(f"{integrator}:bi:retry:cdr", 0, -1)
    found = [read_member(member) for member in members]
    moved = History(attempts=7, first_failed_at=1, last_result="http_5xx", replayed=True)
    assert {body: kept for kept, body in found} == {
        b"deferred\n\xff": moved,
        b"handed out": moved,
        b"put there by hand": History(replayed=True),
    }


@pytest.mark.usefixtures("several")
async def test_twins_stay_two(run: Run, client: Redis, integrator: str) -> None:
    """Each gets a token of its own."""
    await client.rpush(f"{integrator}:crm:pending:cdr", *[b"twin"] * 1200)
    assert (await run("crm", "bi"))[0] == 0
    assert await in_retry_set(client, f"{integrator}:bi:retry:cdr") == [b"twin"] * 1200


@pytest.mark.parametrize("oldest", ["head", "tail"])
async def test_the_only_endpoint_gets_them_into_the_short_retry_set(
    oldest: str, run: Run, client: Redis, integrator: str, source: str
) -> None:
    """With CDR_WEBHOOK_URL alone. The source, which is Enigma's, is left alone."""
    waiting = await leave_behind(client, integrator)
    assert (await run("crm", "webhook", CDR_SOURCE_OLDEST=oldest))[0] == 0
    assert Counter(await in_retry_set(client, f"{integrator}:retry:cdr")) == Counter(waiting)
    assert not await client.exists(source)


@pytest.mark.parametrize(("old", "new"), [("webhook", "webhook"), ("crm", "webhook")])
async def test_what_a_lane_of_several_left_reaches_the_only_endpoint(
    old: str, new: str, run: Run, client: Redis, integrator: str
) -> None:
    """Also under the same name: its keys are others."""
    await client.rpush(f"{integrator}:{old}:pending:cdr", b"cdr")
    assert (await run(old, new))[0] == 0
    assert await in_retry_set(client, f"{integrator}:retry:cdr") == [b"cdr"]


@pytest.mark.usefixtures("several")
async def test_a_live_owner_that_has_it_is_not_robbed(run: Run, world: World) -> None:
    """A process with the old configuration still delivers them: it is named, and nothing is moved."""
    world.receiver.gate.clear()
    old = await world.start({"CDR_ENDPOINTS__CRM__URL": world.receiver.url})
    await eventually(lambda: old.events("slot.taken"))
    await world.redis.rpush(f"{world.integrator}:crm:pending:cdr", b"cdr")
    status, said = await run("crm", "bi")
    assert status == 1
    assert "crm is still an endpoint of a live process on " in said
    assert not await world.redis.exists(f"{world.integrator}:bi:retry:cdr")
    world.receiver.gate.set()


@pytest.mark.usefixtures("several")
async def test_a_live_owner_without_it_does_not_mind(run: Run, client: Redis, integrator: str) -> None:
    """Neither does what somebody else has put there."""
    owner = {"id": "x", "source": "s", "fans_out": True, "endpoints": {"bi": "1", "billing": "2"}}
    alone = {"id": "y", "source": "s", "fans_out": False, "endpoints": {"crm": "3"}}
    for slot, value in enumerate([owner, alone, {"endpoints": 7}, [], "text"], start=2):
        await client.set(f"{integrator}:processing:cdr:{slot}:owner", json.dumps(value), px=60_000)
    await client.set(f"{integrator}:processing:cdr:owner", "not JSON", px=60_000)
    await leave_behind(client, integrator)
    assert (await run("crm", "bi"))[0] == 0


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(
    ("words", "said"), [(("bi", "billing"), "bi is configured"), (("crm", "crn"), "crn is not configured")]
)
async def test_what_makes_no_sense_is_refused(words: tuple[str, str], said: str, run: Run) -> None:
    status, text = await run(*words)
    assert status == 1
    assert text.startswith(said)


@pytest.mark.usefixtures("several")
async def test_a_dry_run_only_counts(run: Run, client: Redis, integrator: str) -> None:
    await leave_behind(client, integrator)
    await client.rpush(f"{integrator}:crm:dead:cdr", "{}")
    _, said = await run("crm", "bi", "--dry-run")
    assert said.splitlines() == [
        f"3 in {integrator}:crm:processing:cdr",
        f"3 in {integrator}:crm:processing:cdr:7",
        f"3 in {integrator}:crm:pending:cdr",
        f"1 in {integrator}:crm:dead:cdr",
        "9 CDRs and 1 dead letters of crm would be moved to bi",
    ]
    assert not await client.exists(f"{integrator}:bi:retry:cdr", f"{integrator}:bi:dead:cdr")


@pytest.mark.usefixtures("several")
async def test_dead_letters_are_moved_to_those_of_the_other(run: Run, client: Redis, integrator: str) -> None:
    """In their order, behind those that are there; they stay dead."""
    letters = [raw_letter(b"%d" % number) for number in range(3)]
    await client.rpush(f"{integrator}:bi:dead:cdr", letters[0])
    await client.rpush(f"{integrator}:crm:dead:cdr", *letters[1:])
    assert await run("crm", "bi") == (0, "0 CDRs and 2 dead letters moved from crm to bi\n")
    assert await client.lrange(f"{integrator}:bi:dead:cdr", 0, -1) == letters
    assert await keys_of_crm(client, integrator) == []


@pytest.mark.usefixtures("several")
async def test_lost_replies_lose_no_cdr(run: Run, client: Redis, integrator: str, redis_server: EmbeddedRedis) -> None:
    """A page that is sent again moves the next ones: there is nothing that it could do twice."""
    waiting = await leave_behind(client, integrator, 1500)
    async with RedisProxy(redis_server) as proxy:
        proxy.loses = at_random(1, 0.1)
        assert (await run("crm", "bi", CDR_REDIS_URL=proxy.url))[0] == 0
        assert proxy.lost.total()
    assert Counter(await in_retry_set(client, f"{integrator}:bi:retry:cdr")) == Counter(waiting)


@pytest.mark.usefixtures("several")
async def test_a_full_redis_does_not_hinder_it(
    run: Run, own_redis: EmbeddedRedis, own_client: Redis, integrator: str
) -> None:
    """A move adds next to nothing."""
    waiting = await leave_behind(own_client, integrator, 600)
    await own_client.config_set("maxmemory", "1")
    assert (await run("crm", "bi", CDR_REDIS_URL=own_redis.url))[0] == 0
    assert Counter(await in_retry_set(own_client, f"{integrator}:bi:retry:cdr")) == Counter(waiting)


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("command", ["zadd", "lpop", "rpop"])
async def test_a_missing_right_loses_nothing(
    command: str, run: Run, client: Redis, redis_server: EmbeddedRedis, integrator: str
) -> None:
    """Whichever: each CDR is on the one side or on the other, once."""
    waiting = await leave_behind(client, integrator)
    words = ["SETUSER", integrator, "reset", "on", "nopass", "~*", "+@all", f"-{command}"]
    await client.execute_command("ACL", *words)  # type: ignore[no-untyped-call]
    await run("crm", "bi", CDR_REDIS_USERNAME=integrator, CDR_REDIS_PASSWORD="any")
    await client.acl_deluser(integrator)
    left = [
        cdr
        async for key in client.scan_iter(f"{integrator}:crm:*cdr*", _type="list")
        for cdr in await all_of(client, key)
    ]
    assert Counter(left + await in_retry_set(client, f"{integrator}:bi:retry:cdr")) == Counter(waiting)


async def all_of(client: Redis, key: bytes) -> list[bytes]:
    return list(await client.lrange(key, 0, -1))  # type: ignore[arg-type]  # redis-py says str, Redis takes bytes
