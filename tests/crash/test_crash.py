"""A short crash run: everything at once."""

from argparse import Namespace
from pathlib import Path

import pytest

from tests.crash.run import CrashRun


@pytest.mark.timeout(150)
async def test_nothing_is_lost_while_everything_is_injured(tmp_path: Path) -> None:
    """Three replicas, kill -9, SIGSTOP, SIGTERM, Redis killed, an endpoint that misbehaves: nothing is lost."""
    asked = Namespace(seconds=12.0, replicas=3, concurrency=32, rate=200.0, seed=None)
    assert await CrashRun(tmp_path, asked).run()
