"""Send commands to Redis, again where that is safe, and tell of its outages."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import token_hex
from typing import Any, Final
from urllib.parse import quote

import redis.exceptions as refusals
from redis.asyncio.connection import AbstractConnection
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from app.config.source import Source
from app.config.timings import Timings
from app.errors import FencedError, ForwarderError, OperatorRedisError, TransientRedisError
from app.store.connection import connect, locate_with
from app.store.meaning import FOREIGN_ERRORS, meaning
from app.store.refusals import Refusals
from app.store.scripts import RunScript, script
from app.telemetry import outages
from app.telemetry.notices import Notices

RETRIED: Final = (OperatorRedisError, TransientRedisError, FencedError)
OURS: Final = "cdr-forwarder"
CLAIM: Final = "claim"
COMMAND: Final = "command"
"""Roles of a connection, which its name ends in: the waiting claim, and a command that a person typed."""

MASTER_MOVED: Final = (refusals.ReadOnlyError, refusals.MovedError)


def client_name(integrator: str, source_key: str, role: str = "") -> str:
    """Return the name of our connections in Redis, by which another integrator on the same source is found."""
    name = f"{OURS}:{integrator}:{quote(source_key, safe='')}"
    return f"{name}:{role}" if role else name


class Link:
    """Holds our connections to the Redis of one source: a pool for commands, and separate ones for channels.

    redis-py never retries here: a silently re-sent BLMOVE leaves a CDR in processing that nobody knows of.
    """

    def __init__(self, source: Source, role: str = "", timings: Timings | None = None) -> None:
        self.timings = timings or Timings()
        self.source = source
        self.name = client_name(source.integrator, source.key, role)
        self.commands = connect(source, self.timings.reply_patience, self.name)
        self._own: list[AbstractConnection] = []
        self.claim_role = f"{CLAIM}-{token_hex(6)}"
        self._locate = locate_with(source)
        self.lease_doubted = asyncio.Event()
        self.place = source.redis.shown_url
        self.outage = outages.redis_outage(source.name, self.place)
        self.refused = Refusals(source, self.timings)

    def inform(self, notices: Notices, source: str = "") -> None:
        """Let notices tell when Redis is away, or refuses our login. `source`: whose Redis it is."""
        subject = notices.redis(self.place, source)
        self.outage.listener, self.refused.on_login = subject.cause("away"), subject.cause("login")

    @property
    def database(self) -> str:
        """Return the number of the database, as CLIENT LIST shows it."""
        return str(self.commands.connection_pool.connection_kwargs.get("db") or 0)

    def script(self, *names: str) -> RunScript:
        """Return a script that is run on the pool."""
        registered: RunScript = self.commands.register_script(script(*names).text)
        return registered

    def connection(self, role: str = "") -> AbstractConnection:
        """Make a connection that is in no pool. It has no timeouts: whoever uses it knows how long it may take."""
        # The client is made only for its pool, which knows how a connection of this kind is made.
        made = connect(self.source, None, f"{self.name}:{role}" if role else self.name)
        connection: AbstractConnection = made.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._own.append(connection)
        return connection

    async def call(self, command: str, send: Callable[[], Awaitable[Any]]) -> Any:
        """Send it once. Raises our errors in place of redis-py's, and tells when an outage begins and ends."""
        cancels = cancels_so_far()
        try:
            reply = await send()
        except FOREIGN_ERRORS as raised:
            heed_cancel(cancels)
            error = meaning(raised)
            self._note(command, error)
            # Inside a script the error has no type, only its text.
            if isinstance(raised, MASTER_MOVED) or "READONLY" in str(raised):
                await self._reconnect(also_in_use=False)  # those get an error of their own
            raise error from raised
        heed_cancel(cancels)
        self.outage.end()
        self.refused.end(command)
        return reply

    async def persist(self, command: str, send: Callable[[], Awaitable[Any]]) -> Any:
        """Send it until it is answered: only for what may be applied twice. tenacity drives the pauses."""
        try:
            return await self.call(command, send)
        except OperatorRedisError:
            await asyncio.sleep(self.timings.operator_pause)
        except RETRIED:
            pass  # the first try is plain: tenacity would cost more than all else in a command that works
        return await AsyncRetrying(
            retry=retry_if_exception_type(RETRIED), wait=self._pause, sleep=asyncio.sleep, reraise=True
        )(self.call, command, send)

    def _pause(self, state: RetryCallState) -> float:
        timings = self.timings
        if state.outcome and isinstance(state.outcome.exception(), OperatorRedisError):
            return timings.operator_pause
        return wait_random_exponential(timings.shortest_pause, timings.longest_pause)(state)

    def _note(self, command: str, error: ForwarderError) -> None:
        if isinstance(error, FencedError):
            self.lease_doubted.set()
        elif isinstance(error, TransientRedisError) and error.away:
            self.outage.begin(str(error))
        else:
            self.outage.end()
            self.refused.note(command, error)

    def note_refusal(self, command: str, refusal: str) -> None:
        """Tell that Redis refused a command inside a script that went on; empty: it refused nothing."""
        if refusal:
            self._note(command, meaning(refusals.ResponseError(refusal)))
        else:
            self.refused.end(command)

    async def watch_master(self) -> None:
        """Leave a master that was replaced by hand: it accepts writes for a while, and loses them."""
        if self._locate is None:
            return
        known = None
        while True:
            with suppress(*FOREIGN_ERRORS):
                master = await self._locate()
                if known not in (None, master):
                    await self._reconnect(also_in_use=True)
                known = master
            await asyncio.sleep(self.timings.master_look)

    async def _reconnect(self, *, also_in_use: bool) -> None:
        """Look for the master again with the next command."""
        await self.commands.connection_pool.disconnect(inuse_connections=also_in_use)
        for connection in self._own:
            connection.mark_for_reconnect()  # type: ignore[no-untyped-call]
            if also_in_use:
                await connection.disconnect(nowait=True)

    async def close_channels(self) -> None:
        """Close the connections of channels that nobody uses any more."""
        for connection in self._own:
            with suppress(*FOREIGN_ERRORS):
                await connection.disconnect(nowait=True)
        self._own.clear()

    async def unblock(self) -> None:
        """End our waiting claims at once. Cancelling them could lose a CDR; here Redis decides which came first."""
        for client in await self.commands.client_list():
            if client["name"] == f"{self.name}:{self.claim_role}":
                await self.commands.client_unblock(int(client["id"]))

    async def aclose(self) -> None:
        await self.close_channels()
        with suppress(*FOREIGN_ERRORS):
            await self.commands.aclose()


def cancels_so_far() -> int:
    """Return how often the current task was cancelled, for `heed_cancel`."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def heed_cancel(before: int) -> None:
    """Raise a cancellation that `wait_for` swallowed (before Python 3.12, in redis-py): we would never end."""
    if cancels_so_far() > before:
        raise asyncio.CancelledError
