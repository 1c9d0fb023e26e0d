"""Look up addresses of host names, so that one dead name, or a dead DNS server, holds up nobody else.

The event loops look names up in a few shared threads (uvloop: four), which a few dead names occupy for minutes, and
which a stop waits for.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any, Final

Address = tuple[int, int, int, str, tuple[Any, ...]]
"""As socket.getaddrinfo gives it."""

LookUp = Callable[[str, int], Sequence[Address]]

FRESH: Final = 10.0
"""Seconds for which an answer is used without another look-up."""

PATIENCE: Final = 1.0
"""Seconds for which a look-up is waited for where an older answer is known."""


def system_look_up(host: str, port: int) -> Sequence[Address]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


@dataclass(slots=True)
class _Name:
    host: str
    port: int
    answer: Sequence[Address] = ()
    fresh_until: float = float("-inf")
    began: float = 0.0
    looking: "asyncio.Future[Sequence[Address] | OSError] | None" = None


class Resolver:
    """Looks each name up in a daemon thread of its own, once at a time; of one event loop."""

    def __init__(self, look_up: LookUp = system_look_up, *, fresh: float = FRESH, patience: float = PATIENCE) -> None:
        self._look_up = look_up
        self._fresh = fresh
        self._patience = patience
        self._names: dict[tuple[str, int], _Name] = {}

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        """Return at least one address; the last ones known where the look-up fails or hangs. Raises gaierror."""
        name = self._names.setdefault((host, port), _Name(host, port))
        if asyncio.get_running_loop().time() < name.fresh_until:
            return name.answer
        if numeric := _numeric(host, port):
            name.answer, name.fresh_until = numeric, float("inf")
            return numeric
        found = await self._found(name)
        if isinstance(found, OSError):
            raise found
        return found

    def doubt(self, host: str, port: int) -> None:
        """Look this name up again before its next use: none of its addresses could be connected to."""
        if (name := self._names.get((host, port))) and name.fresh_until != float("inf"):
            name.fresh_until = float("-inf")

    async def _found(self, name: _Name) -> Sequence[Address] | OSError:
        looking = name.looking or self._begin(name)
        if not name.answer:
            return await asyncio.shield(looking)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(name.began + self._patience):
                await asyncio.shield(looking)
        return name.answer

    def _begin(self, name: _Name) -> "asyncio.Future[Sequence[Address] | OSError]":
        loop = asyncio.get_running_loop()
        name.began = loop.time()
        name.looking = loop.create_future()
        Thread(target=self._work, args=(loop, name), name=f"look-up of {name.host}", daemon=True).start()
        return name.looking

    def _work(self, loop: asyncio.AbstractEventLoop, name: _Name) -> None:
        found: Sequence[Address] | OSError
        try:
            found = self._look_up(name.host, name.port) or _no_address()
        except UnicodeError:  # a label that is too long, for one
            found = _no_address()
        except OSError as error:
            found = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(partial(self._end, loop.time(), name, found))

    def _end(self, now: float, name: _Name, found: Sequence[Address] | OSError) -> None:
        looking, name.looking = name.looking, None
        if not isinstance(found, OSError):
            name.answer, name.fresh_until = found, now + self._fresh
        if looking is not None and not looking.done():
            looking.set_result(found)


def _no_address() -> socket.gaierror:
    return socket.gaierror(socket.EAI_NONAME, "no such name")


def _numeric(host: str, port: int) -> Sequence[Address]:
    """Return the address of a host that is an address already."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return ()
