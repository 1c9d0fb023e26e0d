"""Batches into PostgreSQL, behind the receiver of deploy/receivers/, while both sides are killed."""

import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.crash.ledger import base_of, lists_of, retry_sets_of
from tests.support.batches import cdr_numbered
from tests.support.harness import Child, eventually, gone
from tests.support.postgresql import PostgreSql
from tests.support.site import SECRET, Site
from tests.support.world import World

CDRS: Final = 100_000
KILLS: Final = 16
PAGE: Final = 5_000
FORWARDERS: Final = 2
LAST_OF_FORWARDERS: Final = 8
"""Half a minute after it, what it had been handed out by the retry set is due again."""


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_each_cdr_is_one_row_whoever_is_killed(world: World, tmp_path: Path) -> None:
    """100,000 CDRs in batches of 100, SIGKILL for forwarders and receiver in between: exactly 100,000 rows."""
    chance = random.Random(14)
    world = world.with_variables(
        webhook_batch_size="100", webhook_concurrency="8", webhook_secret=SECRET, webhook_timeout="5"
    )
    async with AsyncExitStack() as stack:
        database = stack.enter_context(PostgreSql())
        site = Site("python", tmp_path, database=database)
        stack.push_async_callback(site.kill)
        await site.start()
        world = world.with_variables(webhook_url=site.url)
        for begin in range(0, CDRS, PAGE):
            await world.redis.rpush(world.source, *map(cdr_numbered, range(begin, begin + PAGE)))
        forwarders = [await world.start() for _ in range(FORWARDERS)]
        for kill in range(1, KILLS + 1):
            await has_claimed(world, kill * CDRS // (KILLS + 1))
            if kill % 2 == 0 and kill <= LAST_OF_FORWARDERS:
                await replace_one(forwarders, world, chance)
            else:
                await site.kill()
                await site.start()
        base = base_of(world.integrator, None)
        await eventually(lambda: gone(world.redis, world.source, *lists_of(base), *retry_sets_of(base)), 120)
        await site.kill()
        (row,) = database.query("SELECT count(*), count(DISTINCT body), sum(length(body)) FROM cdr")
        print(f"{CDRS} CDRs, {KILLS} kills: {row[0]} rows")
    assert row == (CDRS, CDRS, sum(len(cdr_numbered(number)) for number in range(CDRS)))


async def has_claimed(world: World, number: int) -> None:
    """Wait until so many have left the source: half of the way through a batch, as likely as not."""

    async def claimed() -> bool:
        return await world.redis.llen(world.source) <= CDRS - number

    await eventually(claimed, 60)


async def replace_one(forwarders: list[Child], world: World, chance: random.Random) -> None:
    which = chance.randrange(len(forwarders))
    await forwarders[which].kill()
    forwarders[which] = await world.start()
