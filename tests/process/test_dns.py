"""Host names whose look-up hangs, beside one that is well."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.support.forwarder import all_arrive, default_environment, numbered, owns_a_list, started_in
from tests.support.harness import eventually
from tests.support.namespace import Namespace, namespace
from tests.support.pace import clock, paced
from tests.support.scripted import ScriptedReceiver

WELL: Final = "well.test"
NUMBER: Final = 90


@pytest.fixture
async def host(integrator: str) -> AsyncIterator[Namespace]:
    with namespace(f"cdr-{integrator}", hosts=f"127.0.0.1 localhost\n127.0.0.1 {WELL}\n") as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("hanging", [2, 6])
async def test_host_names_that_hang_in_dns_do_not_delay_a_healthy_endpoint(
    hanging: int, host: Namespace, tmp_path: Path, integrator: str, source: str
) -> None:
    """Each look-up of the others hangs for 20 s: the healthy one gets 90 CDRs in 30 s, each within 2 s."""
    pushed_at: dict[bytes, float] = {}
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(_redis(tmp_path))
        client = await stack.enter_async_context(Redis.from_url(redis.url, protocol=2))
        receiver = await stack.enter_async_context(ScriptedReceiver(listening=host.listening()))
        variables = default_environment(redis.url, integrator, **_endpoints(receiver.port, hanging))
        await stack.enter_async_context(started_in(host.prefix, tmp_path, variables))
        await owns_a_list(client, integrator)
        cdrs = numbered("cdr", NUMBER)
        async for number in paced(NUMBER, per_second=3):
            pushed_at[cdrs[number]] = clock()
            await client.rpush(source, cdrs[number])
        await all_arrive(receiver, cdrs, within=2)
        await eventually(lambda: _wait_for(client, integrator, hanging))
    assert max(receiver.taken_at[cdr] - pushed_at[cdr] for cdr in cdrs) < 2


def _redis(tmp_path: Path) -> EmbeddedRedis:
    """Return a server on a Unix socket, which is reachable from every network namespace."""
    directory = tmp_path / "redis"
    directory.mkdir()
    return EmbeddedRedis(directory, unix_socket=directory / "socket", appendonly=False)


def _endpoints(port: int, hanging: int) -> dict[str, str]:
    others = {f"endpoints__hanging{number}__url": f"http://hangs{number}.test/" for number in range(hanging)}
    return others | {"endpoints__well__url": f"http://{WELL}:{port}/cdr"}


async def _wait_for(client: Redis, integrator: str, hanging: int) -> bool:
    """Tell whether every hanging endpoint still has all of its CDRs waiting: the scene was what it says."""
    return all([await _waiting(client, f"{integrator}:hanging{number}") == NUMBER for number in range(hanging)])


async def _waiting(client: Redis, lane: str) -> int:
    lists = [await client.llen(f"{lane}:{place}:cdr") for place in ("pending", "processing")]
    return sum(lists) + sum([await client.zcard(f"{lane}:{place}:cdr") for place in ("retry", "retrying")])
