"""What the scenes share: default pauses, a scripted receiver, a forwarder that has its list."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.conftest import StartChild
from tests.support.forwarder import default_environment, owns_a_list
from tests.support.harness import Child
from tests.support.scripted import ScriptedReceiver


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
def defaults(redis_server: EmbeddedRedis, scripted: ScriptedReceiver, integrator: str) -> dict[str, str]:
    """CDR_* variables of a forwarder from the shared Redis to the scripted receiver, all pauses as they come."""
    return default_environment(redis_server.url, integrator, webhook_url=scripted.url)


StartForwarder = Callable[..., Awaitable[Child]]


@pytest.fixture
def start_forwarder(start_child: StartChild, client: Redis, integrator: str) -> StartForwarder:
    """Start a forwarder on the shared Redis, and wait until it owns its processing list."""

    async def start(variables: dict[str, str], slot: int = 1) -> Child:
        forwarder = await start_child(variables, "run")
        await owns_a_list(client, integrator, slot)
        return forwarder

    return start
