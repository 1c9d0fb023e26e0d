"""Write a request to a connection, and collect its answer."""

import asyncio
import select
from collections.abc import Callable
from typing import Final, NamedTuple, cast

import httpx

from app.delivery.failures import ConnectionLostError, cut_off, loss
from app.delivery.transport.answer import Answer

PIECE: Final = 64 * 1024
"""Bytes of a large body that are handed to the event loop at once."""

MOST_TURNS: Final = 100
"""Turns of the event loop in which what TLS has received must turn out to be a session ticket or bytes for us."""

REQUEST_TIMEOUT: Final = 408
REQUEST_TIMEOUT_ANSWER: Final = b" 408 "
"""A server may say 408 before it closes an idle connection; that is no answer to anything, and no fault."""


class Origin(NamedTuple):
    scheme: bytes
    host: bytes
    port: int | None


class Connection(asyncio.Protocol):
    """Belongs to one attempt at a time, which alone decides what becomes of it.

    `is_lost`: it cannot be used. `is_early`: its answer began before the request was written.
    """

    def __init__(self, origin: Origin, on_stray: Callable[[], None]) -> None:
        self.origin = origin
        self.answer = Answer()
        self.is_open = self.is_lost = self.is_early = self.is_reused = self.has_strayed = False
        self.idle_since = 0.0
        self._on_stray = on_stray
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._waiter: asyncio.Future[None] | None = None
        self._is_busy = self._is_written = self._is_paused = False
        self._loss: Exception | None = None
        self._transport: asyncio.Transport

    @property
    def is_answered(self) -> bool:
        """Tell whether there is a status that counts: a 2xx only where the whole request had been written."""
        return self.answer.status > 0 and not (self.is_early and self.answer.is_success)

    @property
    def is_stale(self) -> bool:
        """Tell whether the other side had closed it, or had been about to, before it saw the request."""
        was_closed = self.is_lost and not self.answer.has_begun
        return self.is_reused and (was_closed or self.answer.status == REQUEST_TIMEOUT)

    # What the event loop says

    def connection_made(self, transport: asyncio.BaseTransport, beneath: asyncio.Transport | None = None) -> None:
        """Begin; `beneath`: what carries TLS, in whose buffer a request may still lie."""
        self._transport = cast("asyncio.Transport", transport)
        self._beneath = beneath
        self.is_open = True
        if self.is_lost:  # between the handshake and now
            self._transport.abort()
            return
        self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if not self._is_busy:
            self._strayed(data)
            return
        answer = self.answer
        if answer.status:
            answer.feed(data)
        else:
            is_early = not self._is_written or self._has_unsent()
            answer.feed(data)
            if is_early and (answer.status or answer.is_within_a_head):
                self.is_early = True
        if answer.has_ended and not answer.is_reusable:
            self._transport.abort()
        self._wake()

    def eof_received(self) -> None:
        """Close, without sending what is left: it would be waited for, and no answer can come any more."""
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._loss = error
        self.answer.end()
        self._wake()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._wake()

    # What an attempt does

    async def is_quiet(self) -> bool:
        """Tell whether nothing has arrived that nobody asked for, and the other side has not closed."""
        turns = 0
        while not self.is_lost and self._poll.poll(0) and turns < MOST_TURNS:
            turns += 1
            await asyncio.sleep(0)
        return not self.is_lost and turns < MOST_TURNS

    async def exchange(self, head: bytes, body: bytes) -> None:
        """Write a request; return once the status of its answer is known, or never will be."""
        self._is_busy, self._is_written, self.is_early = True, False, False
        answer = self.answer
        answer.begin()
        if len(body) <= PIECE:
            self._is_written = self._write(head + body)
        else:
            self._is_written = await self._write_in_pieces(head, body)
        while not (answer.is_known or self.is_lost):
            await self.news()

    async def news(self) -> None:
        """Wait until anything happens to the connection."""
        self._waiter = self._loop.create_future()
        await self._waiter

    def rest(self, now: float) -> None:
        """Have no request outstanding from now on."""
        self._is_busy = False
        self.is_reused = True
        self.idle_since = now

    def failure(self) -> httpx.TransportError:
        """Say why there is no answer, or why it broke off."""
        if self.has_strayed or self.is_early:
            return httpx.RemoteProtocolError("an answer before the request was written")
        error = loss(self._loss)
        if self.answer.has_begun and isinstance(error, ConnectionLostError):
            return cut_off()
        return error

    def close(self) -> None:
        self.is_lost = True
        self._transport.close()

    def abort(self) -> None:
        self.is_lost = True
        if self.is_open:
            self._transport.abort()

    # How

    def _has_unsent(self) -> bool:
        unsent = self._transport.get_write_buffer_size()
        return bool(unsent or (self._beneath and self._beneath.get_write_buffer_size()))

    async def _write_in_pieces(self, head: bytes, body: bytes) -> bool:
        """Write until it is written, or until an answer says that there is no need to."""
        self._write(head)
        view = memoryview(body)
        for start in range(0, len(body), PIECE):
            while self._is_paused and not (self.is_lost or self.answer.is_known):
                await self.news()
            if self.is_lost or self.answer.is_known:
                return False
            self._write(view[start : start + PIECE])
        return True

    def _write(self, data: bytes | memoryview) -> bool:
        try:
            self._transport.write(data)
        except RuntimeError:  # uvloop: it was closed a moment ago
            self.abort()
        return not self.is_lost

    def _strayed(self, data: bytes) -> None:
        self.has_strayed = True
        if self.is_reused and not self.is_lost and REQUEST_TIMEOUT_ANSWER not in data[:13]:
            self._on_stray()
        self.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
