"""Replaces clocks and chance of the interpreter while a simulation runs, and puts them back."""

import asyncio
import contextlib
import datetime as dt
import os
import random
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import count
from random import Random
from typing import Any, Final
from unittest.mock import patch

from redis.asyncio.connection import AbstractConnection

from tests.simulation.loop import SimulatedLoop
from tests.simulation.network import Poll
from tests.simulation.process import PROCESS

EPOCH: Final = 1_750_000_000.0
"""Unix time at which every simulation begins."""

OURS: Final = ("app",)

KEPT_IN_SETS: Final = (asyncio.Event, AbstractConnection)
"""What is hashed by its address otherwise, so that the order of a set would differ from run to run."""

EACH_PROCESS: Final[dict[str, Callable[[], Any]]] = {
    "app.store.channel:channel_numbers": lambda: count(1),
    "app.store.channel:sequence_numbers": lambda: count(1),
}
"""Module-level state that a real process has for itself."""


UNUSED_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Making one takes 30 ms, as long as a whole small run."""


class _ForEachProcess:
    """Stands for a module-level iterator: each process has one of its own."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: dict[object, Any] = {}

    def __next__(self) -> Any:
        process = PROCESS.get()
        if process not in self._made:
            self._made[process] = self._make()
        return next(self._made[process])


@contextlib.contextmanager
def virtual(loop: SimulatedLoop, seed: int) -> Iterator[None]:
    """Let `time`, `datetime`, `random`, `uuid`, `secrets` and `os.urandom` follow the loop and the seed."""
    chance = Random(f"urandom {seed}")
    state = random.getstate()
    random.seed(f"random {seed}")

    def wall_clock() -> float:
        process = PROCESS.get()
        return EPOCH + loop.time() + (process.skew if process else 0.0)

    def nanoseconds(clock: Callable[[], float]) -> Callable[[], int]:
        return lambda: int(clock() * 1e9)

    replaced: list[tuple[Any, str, Any]] = [
        *((time, name, loop.time) for name in ("monotonic", "perf_counter")),
        *((time, f"{name}_ns", nanoseconds(loop.time)) for name in ("monotonic", "perf_counter")),
        (time, "time", wall_clock),
        (time, "time_ns", nanoseconds(wall_clock)),
        *((module, name, chance.randbytes) for module, name in ((os, "urandom"), (random, "_urandom"))),
        (socket, "gethostname", _host_name),
        (os, "getpid", lambda: 1),
        (select, "poll", lambda: Poll(loop.network)),
        (ssl, "create_default_context", lambda *_, **__: UNUSED_TLS),
        *_datetimes(_datetime_class(wall_clock)),
        *((kind, "__hash__", _serial_hash()) for kind in KEPT_IN_SETS),
        *_for_each_process(),
    ]
    with contextlib.ExitStack() as stack:
        stack.callback(random.setstate, state)
        for where, name, what in replaced:
            stack.enter_context(patch.object(where, name, what))
        yield


def _serial_hash() -> Callable[[object], int]:
    numbers = count(1)

    def serial_hash(one: object) -> int:
        number: int = one.__dict__.setdefault("_serial", 0) or next(numbers)
        one.__dict__["_serial"] = number
        return number

    return serial_hash


def _host_name() -> str:
    process = PROCESS.get()
    return f"host-{process.name}" if process else "host"


def _datetime_class(clock: Callable[[], float]) -> type[dt.datetime]:
    class VirtualDatetime(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "VirtualDatetime":
            return cls.fromtimestamp(clock(), tz)

    return VirtualDatetime


def _datetimes(virtual_class: type[dt.datetime]) -> Iterator[tuple[Any, str, Any]]:
    """Yield each module of ours that has imported the class: its `now` cannot be replaced."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in OURS and getattr(module, "datetime", None) is dt.datetime:
            yield module, "datetime", virtual_class


def _for_each_process() -> Iterator[tuple[Any, str, Any]]:
    for place, make in EACH_PROCESS.items():
        module_name, _, name = place.partition(":")
        yield import_module(module_name), name, _ForEachProcess(make)
