"""Somebody else listens on the operator port."""

import asyncio
import socket

import httpx
import pytest

from tests.support.forwarder import all_arrive, errors_that_name, is_up, numbered
from tests.support.harness import eventually
from tests.support.world import DefaultWorld


@pytest.fixture
def world(default_world: DefaultWorld) -> DefaultWorld:
    return default_world


@pytest.mark.slow
@pytest.mark.timeout(110)
async def test_a_port_that_is_taken_stops_no_delivery(world: DefaultWorld) -> None:
    """CDRs arrive, an error event names the variable, and the server answers once the port is free."""
    cdrs = numbered("cdr", 100)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        forwarder = await world.start({"CDR_OPS_PORT": str(port)}, slot=1)
        await world.redis.rpush(world.source, *cdrs)
        await all_arrive(world.receiver, cdrs, within=10)
        await eventually(lambda: errors_that_name(forwarder, "CDR_OPS_PORT"))
        assert is_up(forwarder)
    await eventually(lambda: asyncio.to_thread(_is_live, port), deadline=75)
    assert is_up(forwarder)


def _is_live(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
