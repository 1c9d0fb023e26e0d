"""A real Redis for each worker, a real receiver and a key prefix of its own for each test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.support.harness import Child, environment, let_close
from tests.support.receiver import Receiver
from tests.support.servers import KINDS, server_of
from tests.support.world import World


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--redis", choices=[*KINDS, "all"], help="The kind of server; all: each test on each. Else the first there is."
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that has a server the kinds that are asked for."""
    asked = metafunc.config.getoption("--redis")
    if asked and "redis_kind" in metafunc.fixturenames:
        metafunc.parametrize("redis_kind", KINDS if asked == "all" else [asked], indirect=True, scope="session")


@pytest.fixture(scope="session")
def redis_kind(request: pytest.FixtureRequest) -> str | None:
    return getattr(request, "param", None)


@pytest.fixture(scope="session")
def redis_server(redis_kind: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """One server for all tests of a worker that leave it as it was."""
    kind = redis_kind and server_of(redis_kind)
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), server=kind or None, appendonly=False) as server:
        yield server


@pytest.fixture
def own_redis(redis_kind: str | None, tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server that one test may fill, kill and restart; nothing that it has answered is ever lost."""
    directory = tmp_path / "redis"
    directory.mkdir()
    kind = redis_kind and server_of(redis_kind)
    with EmbeddedRedis(directory, server=kind or None, appendfsync="always") as server:
        yield server


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    """Forget how an earlier test in this worker had events written: commands keep silent, and cache their logger."""
    structlog.reset_defaults()


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
    await let_close()


@pytest.fixture
async def own_client(own_redis: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(own_redis.url, protocol=2) as client:
        yield client
    await let_close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as endpoint:
        yield endpoint
        endpoint.gate.set()  # where a test has failed, somebody may still wait there
    await let_close()


@pytest.fixture
def variables(redis_server: EmbeddedRedis, receiver: Receiver, integrator: str) -> dict[str, str]:
    """CDR_* variables of a forwarder from the shared Redis to the receiver."""
    return environment(redis_server.url, receiver.url, integrator)


StartChild = Callable[..., Awaitable[Child]]


@pytest.fixture
async def start_child(tmp_path: Path) -> AsyncIterator[StartChild]:
    """Start `python -m app` with variables and arguments; whatever still runs at the end is killed."""
    children: list[Child] = []

    async def start(variables: Mapping[str, str], *arguments: str, fresh: bool = False) -> Child:
        children.append(await Child.start(tmp_path, variables, *arguments, fresh=fresh))
        return children[-1]

    yield start
    for child in children:
        await child.kill()


@pytest.fixture
def world(
    redis_server: EmbeddedRedis,
    client: Redis,
    integrator: str,
    variables: dict[str, str],
    start_child: StartChild,
    receiver: Receiver,
) -> World:
    """A forwarder's surroundings on the shared Redis."""
    return World(redis_server, client, integrator, variables, start_child, receiver)


@pytest.fixture
def own_world(
    own_redis: EmbeddedRedis, own_client: Redis, integrator: str, start_child: StartChild, receiver: Receiver
) -> World:
    """A forwarder's surroundings on a Redis that one test may fill, kill and restart."""
    variables = environment(own_redis.url, receiver.url, integrator)
    return World(own_redis, own_client, integrator, variables, start_child, receiver)
