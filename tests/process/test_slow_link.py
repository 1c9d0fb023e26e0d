"""A thin link to Redis, on which one claim of large CDRs takes longer than any reply's deadline."""

import os

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.conftest import StartChild
from tests.support.forwarder import all_arrive, default_environment
from tests.support.scripted import ScriptedReceiver
from tests.support.slow_link import SlowLink

MIB = 1024 * 1024

SCENES = [(20, MIB, MIB), (1, 16 * MIB, 1.9 * MIB)]


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize(("number", "size", "rate"), SCENES, ids=["20 of 1 MiB at 1 MiB per s", "16 MiB at 1.9"])
async def test_large_cdrs_and_what_is_behind_them_arrive(
    number: int,
    size: int,
    rate: float,
    start_child: StartChild,
    redis_server: EmbeddedRedis,
    scripted: ScriptedReceiver,
    client: Redis,
    integrator: str,
    source: str,
    processing: str,
) -> None:
    """All of them, and a small one pushed after them, arrive within 90 s."""
    large = [os.urandom(size) for _ in range(number)]
    for body in large:
        await client.rpush(source, body)
    await client.rpush(source, "behind")
    async with SlowLink(redis_server.port, bytes_per_second=rate) as link:
        await start_child(default_environment(link.url, integrator, webhook_url=scripted.url), "run")
        await all_arrive(scripted, [*large, b"behind"], within=90)
    assert max(scripted.arrived.values()) <= 3
