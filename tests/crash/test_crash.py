"""Crash runs: everything at once."""

from pathlib import Path

import pytest

from tests.crash.run import Asked, CrashRun
from tests.crash.several import SeveralSources
from tests.support.servers import server_of


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("endpoints", [1, 3])
async def test_nothing_is_lost_while_everything_is_injured(
    endpoints: int, redis_kind: str | None, tmp_path: Path
) -> None:
    """Three replicas, kill -9, SIGSTOP, SIGTERM, Redis killed, a half-sick endpoint and one that is down: none lost."""
    server = server_of(redis_kind) if redis_kind else None
    asked = Asked(seconds=12, drain=15, allow_deferred=True, rate=200, endpoints=endpoints, server=server)
    assert await CrashRun(tmp_path, asked).run()


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_everything_drains_and_only_poison_is_dead(redis_kind: str | None, tmp_path: Path) -> None:
    """The same for longer, until nothing waits for another try: every CDR was taken, and poison is a dead letter."""
    server = server_of(redis_kind) if redis_kind else None
    assert await CrashRun(tmp_path, Asked(seconds=30, rate=200, server=server)).run()


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_three_sources_and_three_endpoints_lose_nothing(redis_kind: str | None, tmp_path: Path) -> None:
    """Two Redis servers; an endpoint with batches, one with access tokens, a plain one; everything is injured."""
    server = server_of(redis_kind) if redis_kind else None
    asked = Asked(seconds=20, drain=30, allow_deferred=True, rate=200, server=server)
    assert await SeveralSources(tmp_path, asked).run()
