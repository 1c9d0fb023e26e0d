"""A rig for each test, a link without one, users that lack rights, and what was said."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.demo.embedded import EmbeddedRedis
from app.store.client import Link
from app.store.keys import LaneKeys, Topology
from tests.redis.rig import Rig, acl
from tests.support.harness import settings_from
from tests.support.servers import server_of

LIMITED = "limited"

OpenRig = Callable[..., Awaitable[Rig]]
Deny = Callable[..., Awaitable[None]]


@pytest.fixture
async def open_rig(redis_server: EmbeddedRedis, integrator: str) -> AsyncIterator[OpenRig]:
    """Open rigs of one integrator: each is a process of its own."""
    async with AsyncExitStack() as stack:

        async def opened(url: str = redis_server.url, **options: object) -> Rig:
            return await stack.enter_async_context(Rig(url, integrator, **options))  # type: ignore[arg-type]

        yield opened


@pytest.fixture
async def rig(open_rig: OpenRig) -> Rig:
    return await open_rig()


@pytest.fixture
async def limited(redis_server: EmbeddedRedis, client: Redis, integrator: str) -> AsyncIterator[str]:
    """A user that may do everything, until `deny` takes a right away."""
    await acl(client, "SETUSER", integrator, "on", ">secret", "~*", "&*", "+@all")
    yield integrator
    await acl(client, "DELUSER", integrator)


@pytest.fixture
def deny(client: Redis, limited: str) -> Deny:
    """Take commands away from the limited user, at run time."""

    async def denied(*commands: str) -> None:
        await acl(client, "SETUSER", limited, *(f"-{command}" for command in commands))

    return denied


@pytest.fixture
async def limited_rig(open_rig: OpenRig, limited: str) -> Rig:
    return await open_rig(redis_username=limited, redis_password="secret")


@pytest.fixture
async def selective_rig(tmp_path: Path, integrator: str) -> AsyncIterator[Rig]:
    """Three lanes on a server whose users may have a right on some keys only: Valkey, as Redis since 7.0."""
    async with (
        EmbeddedRedis(tmp_path, server=server_of("valkey"), appendonly=False) as server,
        Redis.from_url(server.url) as client,
    ):
        await acl(client, "SETUSER", LIMITED, "on", ">secret", "~*", "&*", "+@all")
        lanes = ("a", "b", "c")
        async with Rig(server.url, integrator, endpoints=lanes, redis_username=LIMITED, redis_password="secret") as rig:
            yield rig


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    """Events, as they are told."""
    with capture_logs() as events:
        yield events


@pytest.fixture
async def link(variables: dict[str, str]) -> AsyncIterator[Link]:
    link = Link(settings_from(variables).sources[0])
    yield link
    await link.aclose()


@pytest.fixture
def keys(variables: dict[str, str]) -> LaneKeys:
    return Topology(settings_from(variables).sources[0]).short
