"""Each test runs with both transports, on both event loops."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.network.transport.client import Client


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The service runs on uvloop, whose transports and whose TLS fail in ways of their own."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["direct", "httpx"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)


@pytest.fixture
def ours() -> Client:
    """For what httpx does not promise."""
    return Client("direct")
