"""The port of the operator server: taken, not there, or open to a network."""

import asyncio
import signal
from typing import Final

import httpx
import pytest
from redis.asyncio import Redis

from app.demo.embedded import free_port
from tests.conftest import StartChild
from tests.support.harness import eventually
from tests.support.receiver import Receiver

TOKEN: Final = "token-of-sixteen-characters"


@pytest.fixture
def watched(variables: dict[str, str]) -> dict[str, str]:
    return variables | {"CDR_OPS_PORT": str(free_port()), "CDR_OPS_TOKEN": TOKEN}


async def test_a_port_that_is_taken_does_not_stop_deliveries(
    start_child: StartChild, watched: dict[str, str], client: Redis, receiver: Receiver, source: str
) -> None:
    """An error says which variable to change; the server answers once the port is free, and that is said too."""
    port = watched["CDR_OPS_PORT"]
    squatter = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", int(port))
    child = await start_child(watched, "run")
    [error] = await eventually(lambda: child.events("operator_server.unavailable"))
    assert (error["level"], error["address"]) == ("error", f"127.0.0.1:{port}")
    assert error["error"] == "Address already in use"
    assert error["advice"] == "the port is in use: set CDR_OPS_PORT to a free one, or to 0 to disable it"
    await client.rpush(source, b"meanwhile")
    await eventually(lambda: receiver.bodies[b"meanwhile"])
    squatter.close()
    await squatter.wait_closed()
    [told] = await eventually(lambda: child.events("operator_server.listening"))
    assert told["level"] == "info"
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"http://127.0.0.1:{port}/livez")).status_code == 200


@pytest.mark.parametrize(
    ("host", "said"), [("203.0.113.7", "this host has no such address"), ("nobody.invalid", "set CDR_OPS_HOST")]
)
async def test_an_address_that_is_not_there_does_not_stop_deliveries(
    start_child: StartChild,
    watched: dict[str, str],
    client: Redis,
    receiver: Receiver,
    source: str,
    host: str,
    said: str,
) -> None:
    """The same; and a stop does not wait for the next try."""
    child = await start_child(watched | {"CDR_OPS_HOST": host}, "run")
    await client.rpush(source, b"meanwhile")
    await eventually(lambda: receiver.bodies[b"meanwhile"])
    [error] = await eventually(lambda: child.events("operator_server.unavailable"))
    assert said in error["advice"]
    child.signal(signal.SIGTERM)
    assert await child.ended(deadline=5) == 0


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", 1), ("127.0.0.1", 0)])
async def test_a_token_that_goes_over_a_network_is_warned_about(
    start_child: StartChild, watched: dict[str, str], host: str, warned: int
) -> None:
    """The operator server has no TLS."""
    child = await start_child(watched | {"CDR_OPS_HOST": host}, "run")
    await eventually(lambda: child.events("slot.taken"))
    told = child.events("operator_token.unencrypted")
    assert [one["level"] for one in told] == ["warning"] * warned
    assert TOKEN not in child.log.read_text()
