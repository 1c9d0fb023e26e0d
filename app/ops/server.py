"""Run the operator server beside the deliveries, in their loop, and never in their way."""

import asyncio
from typing import Final, Self

from uvicorn.server import ServerState

from app.asgi import protocol_config
from app.config.settings import Settings
from app.ops.complaints import Complaints
from app.ops.connection import Connection
from app.ops.host_check import HostCheck
from app.ops.letters_api import Letters
from app.ops.listener import Listener
from app.ops.probe import Probes
from app.ops.routes import Routes
from app.ops.token import OperatorToken
from app.ops.view import View
from app.telemetry import process_events

FAREWELL: Final = 1.0
"""Seconds that a request has to end at a stop."""


class Ops:
    """Runs uvicorn's protocol without its server, which would take over signals, log and exit of the process."""

    def __init__(self, settings: Settings, view: View, letters: Letters, probes: Probes) -> None:
        timings = view.observed.first.link.timings
        self._complaints = Complaints(timings.complaint_pause)
        token = settings.ops_token.get_secret_value() if settings.ops_token else ""
        routes = Routes(view, letters, probes, OperatorToken(token, timings, self._complaints))
        self.application = routes.application
        self._overviews = view.overviews
        self._state = ServerState()
        config = protocol_config(HostCheck(routes.application, settings.ops_host, self._complaints), timings.head_wait)
        self._listener = Listener(
            lambda: Connection(config, self._state, timings, self._complaints), settings.ops_host, settings.ops_port
        )
        self._shows_token = settings.shows_ops_token

    async def __aenter__(self) -> Self:
        """Listen, now or as soon as that is possible. Nothing waits for it."""
        if self._shows_token:
            process_events.operator_token_unencrypted(self._listener.address)
        self._listening = asyncio.create_task(self._listener.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        try:
            await asyncio.wait({self._listening})
        finally:
            await self._close()
            for overview in self._overviews:
                await overview.aclose()
        if not self._listening.cancelled():
            self._listening.result()

    async def _close(self) -> None:
        self._listener.close()
        connections = self._state.connections
        try:
            for connection in list(connections):
                connection.shutdown()
            if self._state.tasks:
                await asyncio.wait(self._state.tasks, timeout=FAREWELL)
        finally:
            for connection in list(connections):
                connection.transport.abort()
            self._complaints.tell()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)
