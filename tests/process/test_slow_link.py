"""A thin link to Redis, on which one claim of large CDRs takes longer than any reply's deadline."""

import os

import pytest

from tests.support.forwarder import all_arrive
from tests.support.slow_link import SlowLink
from tests.support.world import DefaultWorld

MIB = 1024 * 1024

SCENES = [(20, MIB, MIB), (1, 16 * MIB, 1.9 * MIB)]


@pytest.fixture
def world(default_world: DefaultWorld) -> DefaultWorld:
    return default_world


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize(("number", "size", "rate"), SCENES, ids=["20 of 1 MiB at 1 MiB per s", "16 MiB at 1.9"])
async def test_large_cdrs_and_what_is_behind_them_arrive(
    number: int, size: int, rate: float, world: DefaultWorld
) -> None:
    """All of them, and a small one pushed after them, arrive within 90 s."""
    large = [os.urandom(size) for _ in range(number)]
    for body in large:
        await world.redis.rpush(world.source, body)
    await world.redis.rpush(world.source, "behind")
    async with SlowLink(world.server.port, bytes_per_second=rate) as link:
        await world.start({"CDR_REDIS_URL": link.url})
        await all_arrive(world.receiver, [*large, b"behind"], within=90)
    assert max(world.receiver.arrived.values()) <= 3
