"""Faults of networks and receivers around an answer."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence

import httpx
import pytest
import uvloop

from app.delivery.failures import NameResolutionError, failure_kind
from app.delivery.resolver import Address, Resolver
from app.delivery.transport import build_transport
from tests.network.transport.client import Client, answer, endpoint, post, post_fails, request, status_of
from tests.support.http_faults import (
    NO_CONTENT,
    Connection,
    answers,
    answers_then_closes,
    answers_then_hangs,
    drips_for_ever,
    never_accepts,
    refused,
    resets_after_the_request,
    resets_before_the_request,
    sends_for_ever,
    serve,
)

Behaviour = Callable[[Connection], Awaitable[None]]

# Before an answer


async def test_refused(client: Client) -> None:
    """Nobody listens."""
    with refused() as url:
        error = await client.post_fails(url)
    assert type(error) is httpx.ConnectError
    assert failure_kind(error) == "connect"


async def test_a_name_without_an_address(client: Client) -> None:
    """A name that DNS does not know is told from a refusal."""
    error = await client.post_fails("http://nobody.invalid/hook")
    assert isinstance(error, NameResolutionError)
    assert failure_kind(error) == "dns"


async def test_hang_in_dns() -> None:
    """A look-up that does not end counts as connecting, and holds nobody else up."""
    goes_on = threading.Event()

    def look_up(host: str, port: int) -> Sequence[Address]:
        if host == "hangs.invalid":
            goes_on.wait()
        return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)

    async with (
        serve(answers(NO_CONTENT)) as server,
        build_transport(endpoint(connect_timeout=0.2), Resolver(look_up)) as over,
    ):
        hanging = [asyncio.create_task(post_fails(over, "http://hangs.invalid/hook")) for _ in range(20)]
        assert await post(over, server.url.replace("127.0.0.1", "crm.invalid")) == 204
        errors = await asyncio.gather(*hanging)
    goes_on.set()
    assert {type(error) for error in errors} == {httpx.ConnectTimeout}


async def test_the_next_address_where_one_does_not_answer() -> None:
    """Of several addresses, one that works is enough; IPv6 and IPv4 are tried side by side."""

    def look_up(_: str, port: int) -> Sequence[Address]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    async with serve(answers(NO_CONTENT)) as server, build_transport(endpoint(), Resolver(look_up)) as over:
        assert await post(over, server.url.replace("127.0.0.1", "crm.invalid")) == 204


async def test_ipv6(client: Client) -> None:
    """An address in brackets is one like any other."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(connected, "::1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        async with client.transport() as over:
            assert await post(over, f"http://[::1]:{port}/hook", b"") == 204
    finally:
        listener.close()


async def test_hang_in_connect(client: Client) -> None:
    """The time to connect is limited by its own setting."""
    with never_accepts() as url:
        error = await client.post_fails(url, connect_timeout=0.2)
    assert isinstance(error, httpx.ConnectTimeout)


async def test_hang_before_the_headers(client: Client) -> None:
    """The caller's deadline ends it, and the connection is dropped."""
    async with serve(answers_then_hangs(b"HTTP/1.1 20")) as server, client.transport() as over:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await post(over, server.url)
        await server.until(lambda server: server.open_connections == 0)


async def test_reset_before_the_request(client: Client) -> None:
    """A reset of a new connection is an error of the network."""
    async with serve(resets_before_the_request) as server:
        error = await client.post_fails(server.url)
    assert isinstance(error, httpx.NetworkError)
    assert failure_kind(error) == "connect"


async def test_reset_after_the_request(client: Client) -> None:
    """The request may have been seen; that it was not answered is all we know."""
    async with serve(resets_after_the_request) as server:
        error = await client.post_fails(server.url)
    assert isinstance(error, httpx.ReadError)
    assert failure_kind(error) == "connect"


async def test_half_closed_before_the_answer(client: Client) -> None:
    """A receiver that sends no more, however long it listens, will not answer; a large body is not sent to its end."""

    async def behave(connection: Connection) -> None:
        connection.writer.write_eof()
        await connection.left()

    async with serve(behave) as server, client.transport() as over:
        error = await post_fails(over, server.url, bytes(4 * 1024 * 1024))
        await server.until(lambda server: server.open_connections == 0)
    assert failure_kind(error) == "connect"


# While the request is sent


@pytest.mark.parametrize("size", [100, 8 * 1024 * 1024], ids=["small", "large"])
async def test_a_refusal_while_the_request_is_still_being_sent(client: Client, size: int) -> None:
    """A receiver that says 413 to the head of a request, and hangs up, is heard, or has reset the connection."""

    async def behave(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    async with serve(behave) as server, client.transport() as over:
        try:
            assert await post(over, server.url, bytes(size)) == 413
        except httpx.NetworkError as error:  # the reset overtook the answer
            assert failure_kind(error) == "connect"  # noqa: PT017  # either is right; the network decides
        await server.until(lambda server: server.open_connections == 0)


async def test_a_refusal_stops_a_large_body(ours: Client) -> None:
    """The rest of the body is not sent, and the connection is not used again."""

    async def behave(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await asyncio.Event().wait()

    async with serve(behave) as server, ours.transport() as over:
        assert await answer(over, server.url, bytes(64 * 1024 * 1024)) == (413, b"big")
        await answer(over, server.url, bytes(64 * 1024 * 1024))
    assert server.connections == 2


async def test_a_success_before_the_body_was_sent_does_not_count(ours: Client) -> None:
    """Whoever says 200 to half a CDR has not taken it."""

    async def behave(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await asyncio.Event().wait()

    async with serve(behave) as server, ours.transport() as over:
        error = await post_fails(over, server.url, bytes(64 * 1024 * 1024))
    assert failure_kind(error) == "protocol"


async def test_a_success_before_a_reset_body_does_not_count(client: Client) -> None:
    """Nor does it where the receiver then hangs up."""

    async def behave(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        connection.writer.close()

    async with serve(behave) as server, client.transport() as over:
        await post_fails(over, server.url, bytes(64 * 1024 * 1024))


async def test_continue_while_the_body_is_sent(client: Client) -> None:
    """A 100 that comes early is no answer, and spoils none."""

    async def behave(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await connection.reader.readexactly(8 * 1024 * 1024)
        await connection.send(NO_CONTENT)

    async with serve(behave) as server, client.transport() as over:
        assert await post(over, server.url, bytes(8 * 1024 * 1024)) == 204


# After the status


@pytest.mark.parametrize(
    "behaviour",
    [
        answers_then_hangs(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        answers_then_hangs(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"),
        drips_for_ever,
    ],
    ids=["hang", "hang-in-a-chunk", "drip"],
)
async def test_the_rest_of_a_success_is_waited_for_a_second(client: Client, behaviour: Behaviour) -> None:
    """The status has decided. The body may hold the next attempt up no longer; then its connection is dropped."""
    async with serve(behaviour) as server, client.transport() as over:
        response = await over.handle_async_request(request(server.url))
        assert response.status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            async with asyncio.timeout(5):
                await response.aread()
        await response.aclose()
        await server.until(lambda server: server.open_connections == 0)


async def test_the_beginning_of_an_endless_error_is_there_at_the_deadline(client: Client) -> None:
    """What arrived of a body can be kept for the dead letter, although its end never comes."""
    behave = answers_then_hangs(b"HTTP/1.1 422 No\r\ncontent-length: 999\r\n\r\nno such field: number")
    received = b""
    async with serve(behave) as server, client.transport() as over:
        response = await over.handle_async_request(request(server.url))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                async for piece in response.aiter_raw():
                    received += piece
        await response.aclose()
        await server.until(lambda server: server.open_connections == 0)
    assert response.status_code == 422
    assert received == b"no such field: number"


async def test_giving_up_the_body_drops_the_connection(client: Client) -> None:
    """What was cut off can be the beginning of nothing else."""
    async with serve(drips_for_ever) as server, client.transport() as over:
        response = await over.handle_async_request(request(server.url))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.aread(), 0.1)
        await response.aclose()
        await server.until(lambda server: server.open_connections == 0)


@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnothing\r\n",
        b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nabc",
    ],
    ids=["short", "short-chunk", "broken-chunk", "short-error"],
)
async def test_a_body_that_breaks_off(client: Client, beginning: bytes) -> None:
    """The status is known although the body is broken, and the error is httpx's."""
    async with serve(answers_then_closes(beginning)) as server, client.transport() as over:
        response = await over.handle_async_request(request(server.url))
        assert response.status_code == int(beginning[9:12])
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in response.aiter_raw():
                pass
        await response.aclose()
        assert await status_of(over, server.url) == response.status_code


async def test_a_body_that_ends_with_its_connection(client: Client) -> None:
    """Without a length, the end of the connection is the end of the answer."""
    async with serve(answers_then_closes(b"HTTP/1.1 500 No\r\n\r\nbecause")) as server, client.transport() as over:
        assert await answer(over, server.url) == (500, b"because")


async def test_a_body_without_end_is_dropped_not_drained(client: Client) -> None:
    """Whoever stops reading lets go of the connection at once, however much is on its way."""
    async with serve(sends_for_ever) as server, client.transport() as over:
        response = await over.handle_async_request(request(server.url))
        received = [piece async for piece in response.aiter_raw()]
        await response.aclose()
        await server.until(lambda server: server.open_connections == 0)
    assert response.status_code == 200
    assert sum(map(len, received)) == 64 * 1024


async def test_an_answer_that_arrives_with_the_cancellation_is_kept(ours: Client) -> None:
    """What was taken is not forgotten because the deadline fell in the same turn of the event loop."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        loop = asyncio.get_running_loop()
        if isinstance(loop, uvloop.Loop):  # in the turn in which the answer is received
            loop.call_soon(posting.cancel)
        else:
            loop.call_soon(lambda: loop.call_soon(posting.cancel))
        connection.send_at_once(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await connection.left()

    async def attempt() -> None:
        response = await over.handle_async_request(request(server.url))
        statuses.append(response.status_code)
        await response.aread()

    statuses: list[int] = []
    async with serve(behave) as server, ours.transport() as over:
        posting = asyncio.create_task(attempt())
        with pytest.raises(asyncio.CancelledError):
            await posting
        await server.until(lambda server: server.open_connections == 0)
    assert statuses == [200]
