"""Neither transport takes anything for a success that was not written for this very request, nor overlooks one."""

import os

from tests.fuzz.run import fuzz


def test_no_hostile_receiver_is_misunderstood() -> None:
    """A while of random scenes: FUZZ_SECONDS, 3 by default; `python -m tests.fuzz` takes minutes."""
    assert fuzz(float(os.environ.get("FUZZ_SECONDS", "3"))) > 0
