"""A short crash run: everything at once."""

from argparse import Namespace
from pathlib import Path

import pytest

from tests.crash.run import CrashRun
from tests.servers import server_of


@pytest.mark.timeout(150)
@pytest.mark.parametrize("endpoints", [1, 3])
async def test_nothing_is_lost_while_everything_is_injured(
    endpoints: int, redis_kind: str | None, tmp_path: Path
) -> None:
    """Three replicas, kill -9, SIGSTOP, SIGTERM, Redis killed, endpoints that misbehave: nothing is lost at any."""
    server = server_of(redis_kind) if redis_kind else None
    asked = Namespace(
        seconds=12.0, replicas=3, concurrency=32, rate=200.0, seed=None, endpoints=endpoints, server=server
    )
    assert await CrashRun(tmp_path, asked).run()
