"""Mistakes of those who operate it, which only the forwarder can see."""

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.support.forwarder import all_arrive, default_environment, is_told, is_up, numbered
from tests.support.harness import Child, eventually
from tests.support.scripted import ScriptedReceiver
from tests.support.world import DefaultWorld


@pytest.fixture
def world(own_default_world: DefaultWorld) -> DefaultWorld:
    return own_default_world


async def _delivers(world: DefaultWorld, name: str) -> None:
    cdrs = numbered(name, 20)
    await world.redis.rpush(world.source, *cdrs)
    await all_arrive(world.receiver, cdrs, within=20)


async def _was_flushed(server: EmbeddedRedis, client: Redis) -> None:
    await client.flushall()
    await client.client_kill_filter(_type="normal", skipme=True)


async def _was_restarted(server: EmbeddedRedis, client: Redis) -> None:
    await client.config_set("appendonly", "no")
    for file in server.directory.rglob("*.aof*"):
        file.unlink()
    server.options["appendonly"] = "no"
    server.kill()
    server.start()


Empties = Callable[[EmbeddedRedis, Redis], Awaitable[None]]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("empties", [_was_flushed, _was_restarted], ids=["flushed", "restarted without persistence"])
async def test_a_redis_that_comes_back_empty_is_told(empties: Empties, world: DefaultWorld) -> None:
    """CDRs may be missing: an error event says so within 20 s, and new CDRs are delivered."""
    forwarder = await world.start(slot=1)
    await _delivers(world, "before")
    await empties(world.server, world.redis)
    told = await is_told(forwarder, "redis.emptied", within=20)
    assert told["level"] == "error"
    await _delivers(world, "after")
    assert is_up(forwarder)


@pytest.mark.timeout(60)
async def test_a_redis_that_comes_back_with_all_it_had_is_no_mistake(world: DefaultWorld) -> None:
    """It is killed and started again, with its data: nothing says that it was emptied."""
    forwarder = await world.start(slot=1)
    await _delivers(world, "before")
    world.server.kill()
    world.server.start()
    await world.redis.connection_pool.disconnect()
    await eventually(lambda: forwarder.events("redis.back"))
    await _delivers(world, "after")
    assert forwarder.events("redis.emptied") == []


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_two_integrators_on_one_source_are_told(world: DefaultWorld) -> None:
    """Each gets only a part of the CDRs: each tells it and names the other, a third in another database does not."""
    names = [f"{world.integrator}-{letter}" for letter in "abc"]
    elsewhere = world.server.url.removesuffix("0") + "1"
    urls = dict(zip(names, [world.server.url, world.server.url, elsewhere], strict=True))
    shared = {"source_key": world.source, "webhook_url": world.receiver.url}
    forwarders = {name: await world.launch(default_environment(urls[name], name, **shared), "run") for name in names}
    first, other, third = forwarders.values()
    for forwarder, theirs in ((first, names[1]), (other, names[0])):
        told = await is_told(forwarder, "source.shared", within=95)
        assert told["level"] == "error"
        assert theirs in str(told)
    assert third.events("source.shared") == []
    assert all(map(is_up, forwarders.values()))


@pytest.mark.timeout(60)
async def test_one_integrator_with_two_urls_is_told(world: DefaultWorld, second: ScriptedReceiver) -> None:
    """The second process has another URL: it tells that at its start, shows neither, and both deliver."""
    secret = "tokens-stand-in-paths"
    first = await world.start({"CDR_WEBHOOK_URL": f"{world.receiver.url}/{secret}"}, slot=1)
    other = await world.start({"CDR_WEBHOOK_URL": f"{second.url}/{secret}"}, slot=2)
    told = await is_told(other, "installation.differs", within=10)
    assert told["level"] == "error"
    cdrs = numbered("cdr", 200)
    await world.redis.rpush(world.source, *cdrs)
    await eventually(lambda: {*world.receiver.taken, *second.taken} >= {*cdrs})
    assert is_up(first)
    assert is_up(other)
    assert not any(_shows(one, secret) for one in (first, other))


def _shows(forwarder: Child, secret: str) -> bool:
    return secret in forwarder.log.read_text()
