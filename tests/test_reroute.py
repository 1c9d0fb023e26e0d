"""`cdr-forwarder reroute`: what waits for an endpoint that is gone reaches another one, every CDR of it."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.conftest import StartChild
from tests.harness import eventually
from tests.proxy import RedisProxy, at_random
from tests.receiver import Receiver

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
    await client.hset(f"{integrator}:crm:failing:cdr", "cdr_1", "{}")
    await client.hset(f"{integrator}:crm:processing:cdr:7:ops", "1", "1")
    return claimed + orphan + pending


async def keys_of_crm(client: Redis, integrator: str) -> list[bytes]:
    return [key async for key in client.scan_iter(f"{integrator}:crm:*")]


@pytest.mark.usefixtures("several")
async def test_all_that_waits_is_moved_behind_what_is_pending(run: Run, client: Redis, integrator: str) -> None:
    """What was claimed first; what was remembered of failures is dropped."""
    await client.rpush(f"{integrator}:bi:pending:cdr", b"was here")
    waiting = await leave_behind(client, integrator, 700)
    assert await run("crm", "bi") == (0, "2100 CDRs moved from crm to bi\n")
    assert await client.lrange(f"{integrator}:bi:pending:cdr", 0, -1) == [b"was here", *waiting]
    assert await keys_of_crm(client, integrator) == []


@pytest.mark.parametrize("oldest", ["head", "tail"])
async def test_the_only_endpoint_has_the_source(
    oldest: str, run: Run, client: Redis, integrator: str, source: str
) -> None:
    """With CDR_WEBHOOK_URL alone, that is its pending list; its newest end is as Enigma has it."""
    waiting = await leave_behind(client, integrator)
    assert (await run("crm", "webhook", CDR_SOURCE_OLDEST=oldest))[0] == 0
    assert await client.lrange(source, 0, -1) == (waiting if oldest == "head" else waiting[::-1])


@pytest.mark.usefixtures("several")
async def test_a_live_owner_that_has_it_is_not_robbed(
    run: Run, start_child: StartChild, variables: dict[str, str], client: Redis, integrator: str, receiver: Receiver
) -> None:
    """A process with the old configuration still delivers them: it is named, and nothing is moved."""
    receiver.gate.clear()
    old = await start_child(variables | {"CDR_ENDPOINTS__CRM__URL": receiver.url}, "run")
    await eventually(lambda: old.events("slot.taken"))
    await client.rpush(f"{integrator}:crm:pending:cdr", b"cdr")
    status, said = await run("crm", "bi")
    assert status == 1
    assert "crm is still an endpoint of the live process" in said
    assert not await client.exists(f"{integrator}:bi:pending:cdr")
    receiver.gate.set()


@pytest.mark.usefixtures("several")
async def test_a_live_owner_without_it_does_not_mind(run: Run, client: Redis, integrator: str) -> None:
    """Neither does what somebody else has put there."""
    owner = {"id": "host:1:x", "source": "s", "endpoints": ["bi", "billing"]}
    await client.set(f"{integrator}:processing:cdr:owner", json.dumps(owner), px=60_000)
    await client.set(f"{integrator}:processing:cdr:2:owner", "not JSON", px=60_000)
    await client.set(f"{integrator}:processing:cdr:3:owner", '{"endpoints": 7}', px=60_000)
    await client.set(f"{integrator}:processing:cdr:4:owner", "[]", px=60_000)
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
    _, said = await run("crm", "bi", "--dry-run")
    assert said.splitlines() == [
        f"3 in {integrator}:crm:processing:cdr",
        f"3 in {integrator}:crm:processing:cdr:7",
        f"3 in {integrator}:crm:pending:cdr",
        "9 CDRs wait for crm",
    ]
    assert not await client.exists(f"{integrator}:bi:pending:cdr")


@pytest.mark.usefixtures("several")
async def test_dead_letters_stay_and_are_told(run: Run, client: Redis, integrator: str) -> None:
    await client.rpush(f"{integrator}:crm:dead:cdr", "{}")
    assert "1 dead letters of crm stay; dead-letters replay --endpoint crm --to bi" in (await run("crm", "bi"))[1]


@pytest.mark.usefixtures("several")
async def test_lost_replies_lose_no_cdr(run: Run, client: Redis, integrator: str, redis_server: EmbeddedRedis) -> None:
    """A page that is sent again moves the next ones: there is nothing that it could do twice."""
    waiting = await leave_behind(client, integrator, 1500)
    async with RedisProxy(redis_server) as proxy:
        proxy.loses = at_random(1, 0.1)
        assert (await run("crm", "bi", CDR_REDIS_URL=proxy.url))[0] == 0
        assert proxy.lost.total()
    assert Counter(await client.lrange(f"{integrator}:bi:pending:cdr", 0, -1)) == Counter(waiting)


@pytest.mark.usefixtures("several")
async def test_a_full_redis_does_not_hinder_it(
    run: Run, own_redis: EmbeddedRedis, own_client: Redis, integrator: str
) -> None:
    """A move adds nothing."""
    waiting = await leave_behind(own_client, integrator, 600)
    await own_client.config_set("maxmemory", "1")
    assert (await run("crm", "bi", CDR_REDIS_URL=own_redis.url))[0] == 0
    assert await own_client.lrange(f"{integrator}:bi:pending:cdr", 0, -1) == waiting
