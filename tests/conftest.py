"""A real Redis for each worker, a real receiver and a key prefix of its own for each test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from app.embedded import EmbeddedRedis
from tests.harness import Child, environment
from tests.receiver import Receiver


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """One server for all tests of a worker that leave it as it was."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), appendonly=False) as server:
        yield server


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server that one test may fill, kill and restart; nothing that it has answered is ever lost."""
    directory = tmp_path / "redis"
    directory.mkdir()
    with EmbeddedRedis(directory, appendfsync="always") as server:
        yield server


@pytest.fixture
def integrator() -> str:
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
def source(integrator: str) -> str:
    return f"{integrator}-source"


@pytest.fixture
def processing(integrator: str) -> str:
    return f"{integrator}:processing:cdr"


@pytest.fixture
def dead(integrator: str) -> str:
    return f"{integrator}:dead:cdr"


@pytest.fixture
async def client(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url, protocol=2) as client:
        yield client


@pytest.fixture
async def own_client(own_redis: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(own_redis.url, protocol=2) as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as endpoint:
        yield endpoint


@pytest.fixture
def variables(redis_server: EmbeddedRedis, receiver: Receiver, integrator: str) -> dict[str, str]:
    """CDR_* variables of a forwarder from the shared Redis to the receiver."""
    return environment(redis_server.url, receiver.url, integrator)


StartChild = Callable[..., Awaitable[Child]]


@pytest.fixture
async def start_child(tmp_path: Path) -> AsyncIterator[StartChild]:
    """Start `python -m app` with variables and arguments; whatever still runs at the end is killed."""
    children: list[Child] = []

    async def start(variables: Mapping[str, str], *arguments: str) -> Child:
        children.append(await Child.start(tmp_path, variables, *arguments))
        return children[-1]

    yield start
    for child in children:
        await child.kill()
