"""Mistakes of those who operate it, which only the forwarder can see."""

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.conftest import StartChild
from tests.process.conftest import StartForwarder
from tests.support.forwarder import all_arrive, default_environment, is_told, is_up, numbered, owns_a_list
from tests.support.harness import Child, eventually
from tests.support.scripted import ScriptedReceiver


async def _delivers(receiver: ScriptedReceiver, client: Redis, source: str, name: str) -> None:
    cdrs = numbered(name, 20)
    await client.rpush(source, *cdrs)
    await all_arrive(receiver, cdrs, within=20)


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
async def test_a_redis_that_comes_back_empty_is_told(
    empties: Empties,
    start_child: StartChild,
    own_redis: EmbeddedRedis,
    own_client: Redis,
    scripted: ScriptedReceiver,
    integrator: str,
    source: str,
) -> None:
    """CDRs may be missing: an error event says so within 20 s, and new CDRs are delivered."""
    forwarder = await start_child(default_environment(own_redis.url, integrator, webhook_url=scripted.url), "run")
    await owns_a_list(own_client, integrator)
    await _delivers(scripted, own_client, source, "before")
    await empties(own_redis, own_client)
    told = await is_told(forwarder, "redis.emptied", within=20)
    assert told["level"] == "error"
    await _delivers(scripted, own_client, source, "after")
    assert is_up(forwarder)


@pytest.mark.timeout(60)
async def test_a_redis_that_comes_back_with_all_it_had_is_no_mistake(
    start_child: StartChild,
    own_redis: EmbeddedRedis,
    own_client: Redis,
    scripted: ScriptedReceiver,
    integrator: str,
    source: str,
) -> None:
    """It is killed and started again, with its data: nothing says that it was emptied."""
    forwarder = await start_child(default_environment(own_redis.url, integrator, webhook_url=scripted.url), "run")
    await owns_a_list(own_client, integrator)
    await _delivers(scripted, own_client, source, "before")
    own_redis.kill()
    own_redis.start()
    await own_client.connection_pool.disconnect()
    await eventually(lambda: forwarder.events("redis.back"))
    await _delivers(scripted, own_client, source, "after")
    assert forwarder.events("redis.emptied") == []


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_two_integrators_on_one_source_are_told(
    start_child: StartChild, redis_server: EmbeddedRedis, scripted: ScriptedReceiver, client: Redis, integrator: str
) -> None:
    """Each gets only a part of the CDRs: each tells it and names the other, a third in another database does not."""
    names = [f"{integrator}-{letter}" for letter in "abc"]
    elsewhere = redis_server.url.removesuffix("0") + "1"
    urls = dict(zip(names, [redis_server.url, redis_server.url, elsewhere], strict=True))
    shared = {"source_key": f"{integrator}-source", "webhook_url": scripted.url}
    forwarders = {name: await start_child(default_environment(urls[name], name, **shared), "run") for name in names}
    first, other, third = forwarders.values()
    for forwarder, theirs in ((first, names[1]), (other, names[0])):
        told = await is_told(forwarder, "source.shared", within=95)
        assert told["level"] == "error"
        assert theirs in str(told)
    assert third.events("source.shared") == []
    assert all(map(is_up, forwarders.values()))


@pytest.mark.timeout(60)
async def test_one_integrator_with_two_urls_is_told(
    start_forwarder: StartForwarder,
    defaults: dict[str, str],
    scripted: ScriptedReceiver,
    second: ScriptedReceiver,
    client: Redis,
    source: str,
) -> None:
    """The second process has another URL: it tells that at its start, shows neither, and both deliver."""
    secret = "tokens-stand-in-paths"
    first = await start_forwarder(defaults | {"CDR_WEBHOOK_URL": f"{scripted.url}/{secret}"})
    other = await start_forwarder(defaults | {"CDR_WEBHOOK_URL": f"{second.url}/{secret}"}, slot=2)
    told = await is_told(other, "installation.differs", within=10)
    assert told["level"] == "error"
    cdrs = numbered("cdr", 200)
    await client.rpush(source, *cdrs)
    await eventually(lambda: {*scripted.taken, *second.taken} >= {*cdrs})
    assert is_up(first)
    assert is_up(other)
    assert not any(_shows(one, secret) for one in (first, other))


def _shows(forwarder: Child, secret: str) -> bool:
    return secret in forwarder.log.read_text()
