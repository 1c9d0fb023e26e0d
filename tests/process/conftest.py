"""What the scenes share: surroundings with default pauses, scripted receivers, a proxy before Redis."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.conftest import StartChild
from tests.support.forwarder import default_environment
from tests.support.proxy import RedisProxy
from tests.support.scripted import ScriptedReceiver
from tests.support.world import DefaultWorld, World


@pytest.fixture
async def proxy(world: World) -> AsyncIterator[RedisProxy]:
    """A proxy before the Redis of `world`."""
    async with RedisProxy(world.server) as proxy:
        yield proxy


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedReceiver]:
    async with ScriptedReceiver() as receiver:
        yield receiver


@pytest.fixture
async def second() -> AsyncIterator[ScriptedReceiver]:
    """Another receiver, for a second endpoint."""
    async with ScriptedReceiver() as receiver:
        yield receiver


@pytest.fixture
def default_world(
    redis_server: EmbeddedRedis, client: Redis, integrator: str, start_child: StartChild, scripted: ScriptedReceiver
) -> DefaultWorld:
    """A forwarder's surroundings on the shared Redis."""
    variables = default_environment(redis_server.url, integrator, webhook_url=scripted.url)
    return DefaultWorld(redis_server, client, integrator, variables, start_child, scripted)


@pytest.fixture
def own_default_world(
    own_redis: EmbeddedRedis, own_client: Redis, integrator: str, start_child: StartChild, scripted: ScriptedReceiver
) -> DefaultWorld:
    """A forwarder's surroundings on a Redis that one test may fill, kill and restart."""
    variables = default_environment(own_redis.url, integrator, webhook_url=scripted.url)
    return DefaultWorld(own_redis, own_client, integrator, variables, start_child, scripted)
