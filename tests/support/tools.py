"""Programs that some tests need beside Python."""

import os
import shutil
import subprocess

import pytest


def tool(name: str) -> str:
    """Return where it is. Skips the test where it is not installed, and fails it in CI, which has them all."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed")
    return found or pytest.skip(f"{name} is not installed")


def output_of(*command: str | os.PathLike[str]) -> str:
    """Run it, and return what it printed; fails the test with all of it where the command fails, or warns."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}{done.stderr}"
    return done.stdout
