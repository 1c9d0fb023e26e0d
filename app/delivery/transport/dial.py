"""Open new connections: look-up, connect, handshake, within one deadline."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

import aiohappyeyeballs

from app.delivery.failures import FOREIGN_ERRORS, dial_failure
from app.delivery.resolver import Resolver
from app.delivery.transport.connection import Connection, Origin

NEXT_ADDRESS_AFTER: Final = 0.25
"""Seconds until another address of the same name is tried beside the first (RFC 8305)."""

GOODBYE: Final = 1.0
"""Seconds for which the other side's end of TLS is waited for when we close."""

HTTPS: Final = b"https"


class Dialer:
    """Connects, for one endpoint."""

    def __init__(self, tls: ssl.SSLContext, timeout: float, resolver: Resolver, on_stray: Callable[[], None]) -> None:
        self._tls = tls
        self._timeout = timeout
        self._resolver = resolver
        self._on_stray = on_stray

    async def dial(self, origin: Origin) -> Connection:
        """Raise what httpx knows: ConnectTimeout or ConnectError."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._dial(origin)
        except FOREIGN_ERRORS as error:
            raise dial_failure(error) from None

    async def _dial(self, origin: Origin) -> Connection:
        host, encrypted = origin.host.decode("ascii"), origin.scheme == HTTPS
        port = origin.port or (443 if encrypted else 80)
        addresses = await self._resolver.addresses(host, port)
        try:
            socket = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_AFTER)
        except OSError:
            self._resolver.doubt(host, port)
            raise
        connection, loop = Connection(origin, self._on_stray), asyncio.get_running_loop()
        if not encrypted:
            await loop.create_connection(lambda: connection, sock=socket)
            return connection
        beneath, _ = await loop.create_connection(asyncio.Protocol, sock=socket)
        try:
            await self._shake_hands(connection, beneath, host.removesuffix("."))
        finally:
            if not connection.is_open:
                beneath.abort()
        return connection

    async def _shake_hands(self, connection: Connection, beneath: asyncio.Transport, host: str) -> None:
        transport = await asyncio.get_running_loop().start_tls(
            beneath, connection, self._tls, server_hostname=host, ssl_shutdown_timeout=GOODBYE
        )
        if transport is None:  # it was closed meanwhile
            raise ConnectionResetError
        connection.connection_made(transport, beneath)
        await asyncio.sleep(0)  # uvloop hands over only then what came together with the handshake
