"""The master changes: by a crash, by hand, or because its slot moves. Nothing is lost, and all goes on by itself."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from tests.network.servers import Cluster, Watched, cluster, command, watched
from tests.support.harness import Child, environment, eventually, gone
from tests.support.receiver import Receiver

SOURCE: Final = "enigma:notifications:cdr"
HALF: Final = 300
PUSHED: Final = [b"cdr %d" % number for number in range(2 * HALF)]


async def push(port: int, cdrs: list[bytes]) -> None:
    """Push, and have the replica know of it: what it does not know is lost with the master, before we ever see it."""
    async with Redis(port=port, protocol=2) as client:
        await client.rpush(SOURCE, *cdrs)
        assert await client.wait(1, 5000) >= 1


def has_all(receiver: Receiver, wanted: list[bytes]) -> bool:
    return not Counter(wanted) - receiver.bodies


async def all_goes_on(
    child: Child, receiver: Receiver, master: Callable[[], Awaitable[int]], processing: str, before: int
) -> None:
    """Push the second half to whoever is the master then, and wait until all has arrived and is acked."""

    async def moved() -> int:
        port = await master()
        return port if port not in (0, before) else 0

    port = await eventually(moved)
    began = time.monotonic()
    await push_when_it_can(port)
    await eventually(partial(has_all, receiver, PUSHED))
    print(f"delivered {time.monotonic() - began:.2f} s after the new master was known")
    async with Redis(port=port, protocol=2) as client:
        await eventually(lambda: gone(client, SOURCE, processing))
    assert child.process.returncode is None


async def push_when_it_can(port: int) -> None:
    async with Redis(port=port, protocol=2) as client:
        await client.rpush(SOURCE, *PUSHED[HALF:])


@pytest.fixture
async def start(start_child: Callable[..., Awaitable[Child]], receiver: Receiver) -> Callable[[str], Awaitable[Child]]:
    async def started(url: str) -> Child:
        child = await start_child(
            environment(url, receiver.url, "acme", source_key=SOURCE, webhook_concurrency="8"), "run"
        )
        await eventually(lambda: child.events("slot.taken"))
        return child

    return started


@pytest.mark.parametrize("how", ["killed", "by hand"])
async def test_sentinel_makes_another_one_the_master(
    how: str, tmp_path: Path, receiver: Receiver, start: Callable[[str], Awaitable[Child]]
) -> None:
    """The address comes from the sentinels, each time that a connection is made."""
    async with watched(tmp_path) as redis:
        child = await start(redis.url)
        first = redis.servers[0].port
        await push(first, PUSHED[:HALF])
        await eventually(lambda: len(receiver.arrivals) > HALF // 4)
        await _fail_over(redis, how)
        await all_goes_on(child, receiver, redis.ask, "acme:processing:cdr", first)


async def _fail_over(redis: Watched, how: str) -> None:
    if how == "killed":
        redis.servers[0].kill()
    else:
        await command(redis.sentinels[0][1], "SENTINEL FAILOVER", "calls")


@pytest.mark.parametrize("how", ["killed", "by hand"])
async def test_a_cluster_makes_another_one_the_master(
    how: str, tmp_path: Path, receiver: Receiver, start: Callable[[str], Awaitable[Child]]
) -> None:
    """All keys share the slot of the source, so there is one master to follow."""
    async with cluster(tmp_path) as redis:
        child = await start(redis.url)
        number = redis.number_of(SOURCE)
        first = redis.masters[number].port
        await push(first, PUSHED[:HALF])
        await eventually(lambda: len(receiver.arrivals) > HALF // 4)
        if how == "killed":
            redis.masters[number].kill()
        else:
            await command(redis.replicas[number].port, "CLUSTER FAILOVER")
        await all_goes_on(child, receiver, partial(redis.master_of, SOURCE), f"{{{SOURCE}}}:acme:processing:cdr", first)


async def test_a_slot_that_moves_while_a_claim_waits(
    tmp_path: Path, receiver: Receiver, start: Callable[[str], Awaitable[Child]]
) -> None:
    """As when an operator rebalances: what waits in Redis is told, and finds the new place."""
    async with cluster(tmp_path) as redis:
        child = await start(redis.url)
        number = redis.number_of(SOURCE)
        first = redis.masters[number].port
        await push(first, PUSHED[:HALF])
        await eventually(partial(has_all, receiver, PUSHED[:HALF]))
        await _move_slot(redis, number)
        await all_goes_on(child, receiver, partial(redis.master_of, SOURCE), f"{{{SOURCE}}}:acme:processing:cdr", first)


async def _move_slot(redis: Cluster, number: int) -> None:
    slot = str(key_slot(SOURCE.encode()))
    old, new = redis.masters[number], redis.masters[(number + 1) % 3]
    old_id, new_id = [(await command(node.port, "CLUSTER MYID")).decode() for node in (old, new)]
    await command(new.port, "CLUSTER SETSLOT", slot, "IMPORTING", old_id)
    await command(old.port, "CLUSTER SETSLOT", slot, "MIGRATING", new_id)

    async def emptied() -> bool:
        keys = await command(old.port, "CLUSTER GETKEYSINSLOT", slot, "100")
        if keys:
            await command(old.port, "MIGRATE", "127.0.0.1", str(new.port), "", "0", "5000", "REPLACE", "KEYS", *keys)
        return not keys

    await eventually(emptied)
    for node in (new, old, *redis.masters):
        await command(node.port, "CLUSTER SETSLOT", slot, "NODE", new_id)
