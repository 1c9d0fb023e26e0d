"""Puts an engine together: with all commands, and with scripts."""

from collections.abc import Callable
from typing import Final

from tests.simulation.redis import hashes, lists, lua, sorted_sets, strings
from tests.simulation.redis.engine import Engine

COMMAND_MODULES: Final = (strings, lists, hashes, sorted_sets)


def build_engine(clock: Callable[[], int], version: tuple[int, int]) -> Engine:
    """Return an empty one. `clock`: the wall clock in microseconds."""
    engine = Engine(clock, version)
    engine.run_script = lua.run_script
    return engine
