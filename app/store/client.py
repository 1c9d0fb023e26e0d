"""How Redis is reached, and what its errors mean."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.resources import files
from typing import Any, Final

import redis.exceptions as refusals
from redis.commands.core import AsyncScript

from app.config.settings import Settings
from app.errors import FencedError, ForwarderError, OperatorRedisError, OutOfMemoryError, TransientRedisError
from app.store.connection import connect, locate_with
from app.telemetry import events

WAIT: Final = 2
"""Seconds that a claim waits in Redis at most: a CDR claimed for a client that has vanished waits no longer."""

REPLY_DEADLINE: Final = 5.0
LONGEST_PAUSE: Final = 2.0
MASTER_LOOKS: Final = 1.0
"""Seconds between two looks at who is the master."""
OPERATOR_PAUSE: Final = 5.0

NEEDS_PERSON: Final = (
    *("WRONGTYPE", "NOPERM", "NOAUTH", "WRONGPASS"),
    # NOPERM inside a script: before 7.0, and since 7.2.
    *("can't run this command", "can't access at least one of the keys", "ACL failure in script"),
)
KNOWN: Final = (
    *("READONLY", "MASTERDOWN", "CLUSTERDOWN"),  # inside a script, where 6.2 gives them no type
    *("UNBLOCKED", "MISCONF", "NOREPLICAS", "BUSY", "TRYAGAIN", "max number of clients"),
)
FOREIGN_ERRORS: Final = (refusals.RedisError, OSError, RuntimeError)
"""All that redis-py raises; uvloop says RuntimeError of a connection that closed under it."""

KNOWN_TYPES: Final = (
    *(refusals.ReadOnlyError, refusals.ClusterDownError, refusals.TryAgainError, refusals.MasterDownError),
    *(refusals.MaxConnectionsError, refusals.AskError),
)
OURS: Final = "cdr-forwarder-"
CLAIMS: Final = "-claim"
"""What the names of our clients begin with, and that of the blocking claim ends in; between them is the process id."""

MASTER_MOVED: Final = (refusals.ReadOnlyError, refusals.MovedError)


def meaning(error: Exception) -> ForwarderError:
    """Return what an error of redis-py means for us.

    Its own tree cannot be used from the root: a wrong password and a loading server are ConnectionErrors there.
    """
    text = str(error) or type(error).__name__
    if isinstance(error, refusals.AuthenticationError | refusals.NoPermissionError) or _says(text, NEEDS_PERSON):
        return OperatorRedisError(text)
    if isinstance(error, refusals.OutOfMemoryError) or "OOM" in text:
        return OutOfMemoryError(text)
    if text.startswith("FENCED"):
        return FencedError(text)
    if isinstance(error, KNOWN_TYPES) or _says(text, KNOWN):
        return TransientRedisError(text)
    if isinstance(error, refusals.ResponseError):
        return TransientRedisError(text, known=False)
    return TransientRedisError(text, away=True)


def _says(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)


def process_of(client: str) -> str:
    """Return the id of the process that a client of that name belongs to; empty where it is none of ours."""
    return client.removeprefix(OURS).removesuffix(CLAIMS) if client.startswith(OURS) else ""


def script_text(name: str) -> str:
    return files("app.store").joinpath("scripts", f"{name}.lua").read_text()


class Link:
    """Our connections to Redis: commands on a pool, the blocking claim on one of its own.

    redis-py never retries here: a silently re-sent BLMOVE leaves a CDR in processing that nobody knows of.
    """

    def __init__(self, settings: Settings, process_id: str) -> None:
        self.commands = connect(settings, REPLY_DEADLINE, f"{OURS}{process_id}")
        self._blocking_name = f"{OURS}{process_id}{CLAIMS}"
        self.blocking = connect(settings, WAIT + 3, self._blocking_name)
        self._locate = locate_with(settings)
        self.lease_doubted = asyncio.Event()
        self.outage = events.redis_outage()
        self.refused: dict[str, events.Outage] = {}

    def script(self, *names: str) -> AsyncScript:
        return self.commands.register_script("\n".join(map(script_text, names)))

    async def call(self, command: str, send: Callable[[], Awaitable[Any]]) -> Any:
        """Send it once. Raises ours in place of redis-py's, and tells of an outage's start and end."""
        cancels = _cancels()
        try:
            reply = await send()
        except FOREIGN_ERRORS as raised:
            error = meaning(raised)
            self._note(command, error)
            if isinstance(raised, MASTER_MOVED) or "READONLY" in str(raised):
                await self._reconnect(also_in_use=False)  # those get an error of their own
            raise error from raised
        if _cancels() > cancels:
            # Before Python 3.12 wait_for, which redis-py sends with, may swallow it: we would never end.
            raise asyncio.CancelledError
        self.outage.end()
        if command in self.refused:
            self.refused.pop(command).end()
        return reply

    async def persist(self, command: str, send: Callable[[], Awaitable[Any]]) -> Any:
        """Send it until it is answered: only for what may be applied twice."""
        pause = 0.02
        while True:
            try:
                return await self.call(command, send)
            except OperatorRedisError:
                await asyncio.sleep(OPERATOR_PAUSE)
            except (TransientRedisError, FencedError):
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter, not a secret
                pause = min(2 * pause, LONGEST_PAUSE)

    def _note(self, command: str, error: ForwarderError) -> None:
        if isinstance(error, FencedError):
            self.lease_doubted.set()
        elif isinstance(error, TransientRedisError) and error.away:
            self.outage.begin(str(error))
        else:
            self.outage.end()
            needs_person = isinstance(error, OperatorRedisError) or not getattr(error, "known", True)
            refused = events.refused_command(command, needs_person=needs_person)
            self.refused.setdefault(command, refused).begin(str(error))

    def note_refusal(self, command: str, refusal: str) -> None:
        """Tell of what a script was refused though the script itself went on; empty: nothing was."""
        if refusal:
            self._note(command, meaning(refusals.ResponseError(refusal)))
        elif command in self.refused:
            self.refused.pop(command).end()

    async def watch_master(self) -> None:
        """Leave a master that has been replaced by hand: it goes on taking writes for a while, and forgets them."""
        if self._locate is None:
            return
        known = None
        while True:
            with suppress(*FOREIGN_ERRORS):
                master = await self._locate()
                if known not in (None, master):
                    await self._reconnect(also_in_use=True)
                known = master
            await asyncio.sleep(MASTER_LOOKS)

    async def _reconnect(self, *, also_in_use: bool) -> None:
        """Look for the master again with the next command."""
        for client in (self.blocking, self.commands):
            await client.connection_pool.disconnect(inuse_connections=also_in_use)

    async def unblock(self) -> None:
        """End a waiting claim at once, without the risk that cancelling it has: Redis decides which came first."""
        for client in await self.commands.client_list():
            if client["name"] == self._blocking_name:
                await self.commands.client_unblock(int(client["id"]))

    async def aclose(self) -> None:
        for client in (self.blocking, self.commands):
            with suppress(*FOREIGN_ERRORS):
                await client.aclose()


def _cancels() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0
