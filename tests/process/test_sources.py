"""One process reads several lists, on several Redis servers; endpoints are shared."""

import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

import httpx
import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis, free_port
from tests.support.forwarder import is_told, numbered
from tests.support.harness import Child, eventually, gone, passed
from tests.support.old_redis import OldRedis
from tests.support.receiver import Receiver
from tests.support.world import World

CALLS: Final = "CDR_SOURCES__CALLS__"
CAMPAIGNS: Final = "CDR_SOURCES__CAMPAIGNS__"


class Told(Receiver):
    """Remembers from which source each CDR came, and how many attempts there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: dict[bytes, str | None] = {}
        self.most = 0

    async def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        self.sources[body] = headers.get("webhook-source")
        self.most = max(self.most, self.open + 1)
        return await super().receive(headers, body)


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    async with Told() as receiver:
        yield receiver


def two_lists(world: World, told: Told, **more: str) -> dict[str, str]:
    """Return the variables of a forwarder that reads two lists of one Redis."""
    variables = world.variables | {"CDR_WEBHOOK_URL": told.url}
    del variables["CDR_SOURCE_KEY"]
    return (
        variables
        | {f"{CALLS}KEY": f"{world.integrator}-calls", f"{CAMPAIGNS}KEY": f"{world.integrator}-campaigns"}
        | {f"CDR_{name.upper()}": value for name, value in more.items()}
    )


def two_servers(world: World, told: Told, url: str, **more: str) -> dict[str, str]:
    """Return the same, where the second list has a Redis of its own."""
    return two_lists(world, told, **more) | {f"{CAMPAIGNS}REDIS_URL": url}


async def owned(client: Redis, world: World, source: str) -> None:
    await eventually(lambda: client.exists(f"{world.integrator}:processing:{source}:owner"))


async def unready(port: int) -> str:
    """Return what /readyz says; empty while nobody listens."""
    async with httpx.AsyncClient() as client:
        try:
            answer = await client.get(f"http://127.0.0.1:{port}/readyz")
        except httpx.TransportError:
            return ""
    return answer.text if answer.status_code == 503 else ""


async def test_each_list_is_delivered_and_named(world: World, told: Told) -> None:
    """With keys of its own; the receiver is told which."""
    variables = two_lists(world, told) | {f"{CAMPAIGNS}OLDEST": "tail"}
    forwarder = await world.launch(variables, "run")
    await world.redis.rpush(f"{world.integrator}-calls", b"a", b"b")
    await world.redis.lpush(f"{world.integrator}-campaigns", b"c", b"d")
    await eventually(lambda: told.bodies.keys() == {b"a", b"b", b"c", b"d"})
    assert told.sources == {b"a": "calls", b"b": "calls", b"c": "campaigns", b"d": "campaigns"}
    await owned(world.redis, world, "calls")
    await owned(world.redis, world, "campaigns")
    taken = {event["source"]: event["processing"] for event in forwarder.events("slot.taken")}
    assert taken == {name: f"{world.integrator}:processing:{name}" for name in ("calls", "campaigns")}


async def test_one_list_is_not_named(world: World, told: Told) -> None:
    """As long as there is one, nothing changes for the receiver."""
    variables = two_lists(world, told)
    del variables[f"{CAMPAIGNS}KEY"]
    await world.launch(variables, "run")
    await world.redis.rpush(f"{world.integrator}-calls", b"a")
    await eventually(lambda: told.sources == {b"a": None})


async def test_a_list_goes_to_the_endpoints_that_it_names(world: World, told: Told) -> None:
    """Others do not get it, and have no keys of it."""
    variables = two_lists(world, told)
    del variables["CDR_WEBHOOK_URL"]
    async with Told() as other:
        variables |= {"CDR_ENDPOINTS__CRM__URL": told.url, "CDR_ENDPOINTS__BI__URL": other.url}
        forwarder = await world.launch(variables | {f"{CAMPAIGNS}ENDPOINTS": "bi"}, "run")
        await world.redis.rpush(f"{world.integrator}-calls", b"call")
        await world.redis.rpush(f"{world.integrator}-campaigns", b"campaign")
        await eventually(lambda: other.bodies.keys() == {b"call", b"campaign"})
        await eventually(lambda: told.bodies.keys() == {b"call"})
    assert not await world.redis.exists(f"{world.integrator}:crm:minutes:campaigns")
    assert not forwarder.events("endpoint.idle")


async def test_an_endpoint_that_no_list_names_is_told_at_start(world: World, told: Told) -> None:
    """It gets nothing: somebody may have forgotten it."""
    variables = two_lists(world, told)
    del variables["CDR_WEBHOOK_URL"]
    variables |= {f"CDR_ENDPOINTS__{name}__URL": told.url for name in ("CRM", "BI")}
    variables |= {f"{CALLS}ENDPOINTS": "bi", f"{CAMPAIGNS}ENDPOINTS": "bi"}
    forwarder = await world.launch(variables, "run")
    idle = await is_told(forwarder, "endpoint.idle", 20)
    assert (idle["level"], idle["endpoints"]) == ("warning", ["crm"])


Break = Callable[[World, EmbeddedRedis, Redis], Awaitable[str]]


async def away(_world: World, server: EmbeddedRedis, _client: Redis) -> str:
    server.stop()
    return server.url


async def wrong_type(world: World, server: EmbeddedRedis, client: Redis) -> str:
    await client.set(f"{world.integrator}-campaigns", "text")
    return server.url


async def wrong_password(_world: World, server: EmbeddedRedis, client: Redis) -> str:
    await client.execute_command("ACL", "SETUSER", "pbx", "on", ">right", "allkeys", "allchannels", "+@all")  # type: ignore[no-untyped-call]
    return server.url.replace("redis://", "redis://pbx:wrong@")


async def another_list(world: World, server: EmbeddedRedis, client: Redis) -> str:
    owner = {"id": "x", "host": "elsewhere", "source": "another-list", "lease_ms": 60_000}
    await client.set(f"{world.integrator}:processing:campaigns:owner", json.dumps(owner), px=60_000)
    return server.url


async def mend_away(_world: World, server: EmbeddedRedis, _client: Redis) -> None:
    server.restart()


async def mend_type(world: World, _server: EmbeddedRedis, client: Redis) -> None:
    await client.delete(f"{world.integrator}-campaigns")


async def mend_password(_world: World, _server: EmbeddedRedis, client: Redis) -> None:
    await client.execute_command("ACL", "SETUSER", "pbx", ">wrong")  # type: ignore[no-untyped-call]


async def mend_list(world: World, _server: EmbeddedRedis, client: Redis) -> None:
    await client.delete(f"{world.integrator}:processing:campaigns:owner")


@pytest.mark.parametrize(
    ("broken", "mend", "event"),
    [
        (away, mend_away, "redis.lost"),
        (wrong_type, mend_type, "redis.refused"),
        (wrong_password, mend_password, "redis.refused"),
        (another_list, mend_list, "source.unusable"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_broken_source_stops_no_other(
    world: World,
    told: Told,
    own_redis: EmbeddedRedis,
    own_client: Redis,
    broken: Break,
    mend: Callable[[World, EmbeddedRedis, Redis], Awaitable[None]],
    event: str,
) -> None:
    """From the start: it is told by name, not ready, and taken up when it works again, without a restart."""
    port = free_port()
    url = await broken(world, own_redis, own_client)
    forwarder = await world.launch(two_servers(world, told, url, ops_port=str(port)), "run")
    await world.redis.rpush(f"{world.integrator}-calls", *numbered("a", 50))
    await eventually(lambda: len(told.bodies) == 50)
    assert (await is_told(forwarder, event, 20))["source"] == "campaigns"
    said: str = await eventually(lambda: unready(port))
    assert all(line.startswith("source campaigns: ") for line in said.splitlines())

    await mend(world, own_redis, own_client)
    await own_client.rpush(f"{world.integrator}-campaigns", b"late")
    await eventually(lambda: told.bodies[b"late"], 30)
    assert forwarder.process.returncode is None


async def test_an_old_redis_stops_no_other_source(world: World, told: Told) -> None:
    """With one source it would be the end."""
    redis = OldRedis("5.0.14")
    async with redis.listening():
        forwarder = await world.launch(two_servers(world, told, redis.url), "run")
        await world.redis.rpush(f"{world.integrator}-calls", b"a")
        await eventually(lambda: told.bodies[b"a"])
        unusable = await is_told(forwarder, "source.unusable", 20)
    assert (unusable["source"], unusable["level"]) == ("campaigns", "error")
    assert unusable["error"].startswith(f"{CAMPAIGNS}REDIS_URL: this Redis is 5.0.14")
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended() == 0


async def test_a_redis_that_goes_away_stops_no_other(
    world: World, told: Told, own_redis: EmbeddedRedis, own_client: Redis
) -> None:
    """What it had is delivered when it is back; a stop does not wait for it either."""
    forwarder = await world.launch(two_servers(world, told, own_redis.url), "run")
    await own_client.rpush(f"{world.integrator}-campaigns", b"before")
    await eventually(lambda: told.bodies[b"before"])
    own_redis.kill()
    assert (await is_told(forwarder, "redis.lost", 20))["source"] == "campaigns"
    await world.redis.rpush(f"{world.integrator}-calls", *numbered("a", 100))
    await eventually(lambda: len(told.bodies) == 101)
    own_redis.restart()
    await own_client.rpush(f"{world.integrator}-campaigns", b"after")
    await eventually(lambda: told.bodies[b"after"])
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended() == 0


@pytest.mark.slow
async def test_a_list_whose_type_becomes_wrong_stops_no_other(
    world: World, told: Told, own_redis: EmbeddedRedis, own_client: Redis
) -> None:
    """While it runs; the event names the list, and it is taken up when the key is put right, without a restart."""
    calls, campaigns, port = f"{world.integrator}-calls", f"{world.integrator}-campaigns", free_port()
    forwarder = await world.launch(two_servers(world, told, own_redis.url, ops_port=str(port)), "run")
    await own_client.rpush(campaigns, b"before")
    await eventually(lambda: told.bodies[b"before"])

    await own_client.set(campaigns, "text")
    refused = await is_told(forwarder, "redis.refused", 20)
    assert (refused["source"], refused["level"]) == ("campaigns", "error")
    assert campaigns in f"{refused['command']} {refused['error']}"
    said: str = await eventually(lambda: unready(port))
    assert said == "source campaigns: a key in Redis has the wrong type\n"
    await world.redis.rpush(calls, *numbered("a", 50))
    await eventually(lambda: len(told.bodies) == 51, 3)

    await own_client.delete(campaigns)
    await own_client.rpush(campaigns, b"after")
    await eventually(lambda: told.bodies[b"after"])
    await is_told(forwarder, "redis.accepted", 20)
    await eventually(lambda: _is_ready(port))
    assert all(event["source"] == "campaigns" for event in forwarder.events("redis.refused"))
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended() == 0


async def _is_ready(port: int) -> bool:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200


async def test_a_backlog_starves_no_other_list(world: World, told: Told) -> None:
    """A hundred thousand wait in one list; of the other, each CDR is delivered within a second."""
    told.delay = 0.02
    await world.redis.rpush(f"{world.integrator}-calls", *numbered("a", 100_000))
    await world.launch(two_lists(world, told, webhook_concurrency="4"), "run")
    await eventually(lambda: len(told.bodies) > 50)
    for single in numbered("single", 5):
        await world.redis.rpush(f"{world.integrator}-campaigns", single)
        await eventually(lambda: told.bodies[single], 2)  # noqa: B023 - awaited here
        await passed(0.2)
    assert told.most <= 4
    assert await world.redis.llen(f"{world.integrator}-calls") > 50_000


async def test_two_backlogs_have_equal_parts_of_the_concurrency(world: World, told: Told) -> None:
    """And all of it together."""
    told.gate.clear()
    await world.redis.rpush(f"{world.integrator}-calls", *numbered("a", 300))
    await world.redis.rpush(f"{world.integrator}-campaigns", *numbered("b", 300))
    await world.launch(two_lists(world, told, webhook_concurrency="8"), "run")
    await eventually(lambda: told.at_the_gate == 8)
    told.gate.set()
    told.delay = 0.01
    await eventually(lambda: len(told.bodies) > 300)
    calls = sum(body.startswith(b'{"type": "cdr", "payload": {"call_ref": "a') for body in list(told.bodies)[:200])
    assert 70 < calls < 130
    assert told.most <= 8
    await eventually(lambda: len(told.bodies) == 600)


async def test_an_endpoint_is_back_for_all_while_one_redis_hangs(
    world: World, told: Told, own_redis: EmbeddedRedis, own_client: Redis
) -> None:
    """Whoever has a CDR to probe with probes, although it would be the turn of the source that hangs."""
    told.status = 503
    variables = two_servers(world, told, own_redis.url, webhook_breaker_threshold="2")
    forwarder = await world.launch(variables, "run")
    await owned(world.redis, world, "calls")
    await owned(own_client, world, "campaigns")
    await own_client.rpush(f"{world.integrator}-campaigns", *numbered("c", 3))
    await world.redis.rpush(f"{world.integrator}-calls", *numbered("a", 3))
    await is_told(forwarder, "endpoint.lost", 20)
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        told.status = 204
        await eventually(lambda: sum(body in told.bodies for body in numbered("a", 3)) == 3, 30)
    finally:
        own_redis.process.send_signal(signal.SIGCONT)
    await eventually(lambda: len(told.bodies) == 6, 60)


async def test_from_one_list_to_several_and_back_loses_nothing(world: World, told: Told) -> None:
    """The source `cdr` takes up what the only one has left: in processing, in the retry set, and dead letters."""
    await world.redis.rpush(f"{world.integrator}:processing:cdr", b"claimed")
    told.judge = lambda body: 503 if body == b"fails" else 204
    one = world.variables | {"CDR_WEBHOOK_URL": told.url}
    several = two_lists(world, told)
    several["CDR_SOURCES__CDR__KEY"] = several.pop(f"{CALLS}KEY")
    one["CDR_SOURCE_KEY"] = several["CDR_SOURCES__CDR__KEY"]
    await world.redis.rpush(one["CDR_SOURCE_KEY"], b"one", b"fails")

    await _until(world, one, lambda: told.bodies[b"one"] and told.refusals[b"fails"])
    assert await world.redis.zcard(world.retry) == 1
    await world.redis.rpush(one["CDR_SOURCE_KEY"], b"two")
    await world.redis.rpush(f"{world.integrator}-campaigns", b"three")
    await _until(world, several, lambda: told.bodies[b"two"] and told.bodies[b"three"])
    told.judge = lambda _: 204
    await world.redis.rpush(f"{world.integrator}:processing:campaigns", b"left behind")
    await world.redis.rpush(one["CDR_SOURCE_KEY"], b"four")
    back = await _until(world, one, lambda: told.bodies.keys() >= {b"claimed", b"fails", b"four"})
    [left] = back.events("source.left_over")
    assert (left["source"], left["waiting"]) == ("campaigns", 1)
    await _until(world, several, lambda: told.bodies[b"left behind"])
    assert await gone(world.redis, *world.waiting, one["CDR_SOURCE_KEY"])


async def _until(world: World, variables: dict[str, str], condition: Callable[[], object]) -> Child:
    """Run a forwarder until then, and stop it."""
    forwarder = await world.launch(variables, "run")
    await eventually(condition)
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended() == 0
    return forwarder


async def test_kills_lose_nothing_of_any_list(
    world: World, told: Told, own_redis: EmbeddedRedis, own_client: Redis
) -> None:
    """Whoever comes next takes over the lists of each source."""
    told.delay = 0.005
    variables = two_servers(world, told, own_redis.url, lease="0.5")
    await world.redis.rpush(f"{world.integrator}-calls", *numbered("a", 1500))
    await own_client.rpush(f"{world.integrator}-campaigns", *numbered("b", 1500))
    for number in (200, 800, 1500):
        forwarder = await world.launch(variables, "run")
        await eventually(lambda: len(told.bodies) >= number)  # noqa: B023 - awaited here
        await forwarder.kill()
    await world.launch(variables, "run")
    await eventually(lambda: len(told.bodies) == 3000, 40)


async def test_metrics_and_events_tell_the_source(
    world: World, told: Told, own_redis: EmbeddedRedis, own_client: Redis
) -> None:
    """Of each lane, and of each Redis."""
    port = free_port()
    await world.launch(two_servers(world, told, own_redis.url, ops_port=str(port)), "run")
    await own_client.rpush(f"{world.integrator}-campaigns", b"a")
    await eventually(lambda: told.bodies[b"a"])
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    assert 'cdr_forwarder_delivered_total{endpoint="webhook",source="calls"} 0.0' in text
    assert 'cdr_forwarder_delivered_total{endpoint="webhook",source="campaigns"} 1.0' in text
    assert 'cdr_forwarder_redis_up{source="calls"} 1.0' in text
    assert 'cdr_forwarder_redis_up{source="campaigns"} 1.0' in text
