"""The sampler with a real Redis: it goes on while Redis is away, and writes what it counted when it ends."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis
from app.ops.sampler import Lengths, Sample, Sampler
from app.store.client import Link
from app.store.keys import Topology
from app.store.minutes import Minute
from app.telemetry.metrics import LaneMetrics
from tests.support.harness import eventually, settings_from


@pytest.fixture
async def link(variables: dict[str, str], own_redis: EmbeddedRedis) -> AsyncIterator[Link]:
    variables |= {"CDR_REDIS_URL": own_redis.url}
    link = Link(settings_from(variables).sources[0], timings=Timings(sample=0.05, look=0.05))
    yield link
    await link.aclose()


@pytest.fixture
def sample(variables: dict[str, str]) -> Sample:
    return Sample(Topology(settings_from(variables).sources[0]).short, "head", LaneMetrics("webhook"))


async def test_minutes_wait_while_redis_is_away(
    link: Link, sample: Sample, own_redis: EmbeddedRedis, own_client: Redis
) -> None:
    """They are added, each to its own, when it is back."""
    minute = int(time.time() // 60)
    await asyncio.to_thread(own_redis.kill)
    sampling = asyncio.create_task(Sampler(link, {"webhook": sample}).run(1))
    await eventually(lambda: link.outage.lasts)
    sample.unsent.extend([Minute(minute - 3, 7, 1, 5), Minute(minute - 2, 8, 0, 0)])
    sample.written = 2
    await asyncio.to_thread(own_redis.start)

    async def is_added() -> bool:
        found = await own_client.hmget(sample.keys.minutes, [str(minute - 3), str(minute - 2)])
        return found == [b"7 1 5", b"8 0 0"]

    await eventually(is_added)
    sampling.cancel()
    await asyncio.wait({sampling})


async def test_the_last_minute_is_written_at_the_end(link: Link, sample: Sample, own_client: Redis) -> None:
    """Else each restart would lose up to a minute of the count."""
    await own_client.rpush(sample.keys.pending, "a", "b")
    sampling = asyncio.create_task(Sampler(link, {"webhook": sample}).run(1))
    await eventually(lambda: sample.lengths == Lengths(pending=2))
    sample.metrics.delivered = 12
    sampling.cancel()
    await asyncio.wait({sampling})
    values = await own_client.hvals(sample.keys.minutes)
    assert sum(int(value.split()[0]) for value in values) == 12


async def test_memory_that_may_not_be_asked_for_is_not_known(
    link: Link, sample: Sample, own_redis: EmbeddedRedis, own_client: Redis
) -> None:
    """Many who host Redis withhold INFO; and the process stays ready."""
    sampler = Sampler(link, {"webhook": sample})
    await own_client.acl_setuser("default", enabled=True, nopass=True, commands=["-info"])
    sampling = asyncio.create_task(sampler.run(1))
    await own_client.rpush(sample.keys.pending, "a")
    await eventually(lambda: sample.lengths.pending)
    assert sampler.memory_used_ratio is None
    assert not link.refused
    await own_client.acl_setuser("default", enabled=True, nopass=True, commands=["+info"])
    await eventually(lambda: sampler.memory_used_ratio is not None)
    sampling.cancel()
    await asyncio.wait({sampling})
