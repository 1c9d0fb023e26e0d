"""A forwarder whose operator server is asked, and whose endpoint rejects what it is told to."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Final

import pytest
from redis.asyncio import Redis

from app.config.timings import Timings
from app.demo.embedded import free_port
from app.service import Service
from tests.support.harness import eventually, gone, running, settings_from
from tests.support.receiver import Receiver

TOKEN: Final = "token-of-sixteen-characters"
QUICK: Final = Timings(sample=0.05, look=0.05, between_rejections=0.3, failing=0.2, command_patience=1.0, overview=0.05)


@pytest.fixture
def watched(variables: dict[str, str]) -> dict[str, str]:
    return variables | {"CDR_OPS_PORT": str(free_port()), "CDR_OPS_HOST": "127.0.0.1", "CDR_OPS_TOKEN": TOKEN}


@pytest.fixture
def timings(request: pytest.FixtureRequest) -> Timings:
    """Those of the service; a test may ask for others."""
    asked: Timings = getattr(request, "param", QUICK)
    return asked


@pytest.fixture
async def service(watched: dict[str, str], timings: Timings) -> AsyncIterator[Service]:
    async with running(settings_from(watched), timings) as service:
        await eventually(service.parts.sources[0].lease.holds)
        yield service


async def become_dead(bodies: list[bytes], client: Redis, receiver: Receiver, service: Service, source: str) -> None:
    """Let the endpoint reject these twice, and accept others in between."""
    receiver.judge = lambda body: 400 if body in bodies else 204
    await client.rpush(source, *bodies)
    numbers = count()

    async def are_dead() -> bool:
        if not await client.llen(source):
            await client.rpush(source, b"accepted %d" % next(numbers))
        return await number_of(client, service.parts.sources[0].topology.short.dead, len(bodies))

    await eventually(are_dead)
    await eventually(lambda: gone(client, source))
    await eventually(lambda: not service.parts.lanes[0].lane.in_flight.number)
    receiver.arrivals.clear()


async def number_of(client: Redis, key: str, number: int) -> bool:
    return await client.llen(key) == number
