"""Open the port of the operator server, and keep trying: deliveries do not need it."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from app.telemetry import process_events

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds between two tries."""

BACKLOG: Final = 64
"""Connections that the system may queue. If there were more, they could take all descriptors at once."""

ADVICE: Final = {
    errno.EADDRINUSE: "the port is in use: set CDR_OPS_PORT to a free one, or to 0 to disable it",
    errno.EADDRNOTAVAIL: "this host has no such address: set CDR_OPS_HOST to one it has, or CDR_OPS_PORT to 0",
    errno.EACCES: "the port is privileged: set CDR_OPS_PORT to 1024 or above, or to 0 to disable it",
}
OTHERWISE: Final = "set CDR_OPS_HOST and CDR_OPS_PORT to an address of this host and a free port, or CDR_OPS_PORT to 0"


class Listener:
    """Opens the port. Tells once that this fails, and once that it has succeeded after all."""

    def __init__(self, connect: Callable[[], asyncio.Protocol], host: str, port: int) -> None:
        """Listen on `host` and `port`; `connect` returns a protocol for each connection."""
        self._connect = connect
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None

    async def run(self) -> None:
        """Open the port; return when it is open."""
        retrying: AsyncRetrying = AsyncRetrying(
            retry=retry_if_exception_type(OSError),
            wait=wait_exponential_jitter(FIRST_PAUSE, LONGEST_PAUSE, jitter=FIRST_PAUSE),
            before_sleep=self._tell,
        )
        await retrying(self._open)
        if retrying.statistics["attempt_number"] > 1:
            process_events.operator_server_listening(self.address)

    def close(self) -> None:
        """Accept no more connections."""
        if self._server:
            self._server.close()

    @property
    def address(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, self._host, self._port, backlog=BACKLOG)

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        # Once: later tries would only repeat it.
        if state.attempt_number == 1 and isinstance(error, OSError):
            process_events.operator_server_unavailable(self.address, _reason(error), _advice(error))


def _reason(error: OSError) -> str:
    """Return the system's message, without what uvloop puts before it."""
    known = error.errno and not isinstance(error, socket.gaierror)
    return os.strerror(error.errno) if known and error.errno else str(error)


def _advice(error: OSError) -> str:
    return ADVICE.get(error.errno or 0, OTHERWISE)
