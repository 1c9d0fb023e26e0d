"""What is sent, and over which connection."""

import asyncio
import os
import tracemalloc
from collections.abc import Awaitable, Callable

import httpx
import pytest

from app.delivery.failures import ConnectionLostError
from app.delivery.resolver import Resolver
from app.delivery.transport import DirectTransport, tls_context
from tests.network.transport.client import BODY, Client, endpoint, post, request
from tests.support.harness import eventually
from tests.support.http_faults import (
    NO_CONTENT,
    Connection,
    answers,
    closes_after_the_request,
    fails_when_reused,
    refused,
    resets_after_the_request,
    serve,
)

# What is sent


async def test_sends_the_bytes_and_the_headers_that_it_was_given_and_nothing_else(client: Client) -> None:
    """The receiver gets the exact bytes, with a length, never chunked, and no header of the client's own."""
    headers = [
        (b"host", b"crm.example"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"cdr-forwarder/1"),
        (b"content-length", str(len(BODY)).encode()),
        (b"X-Twice", b"1"),
        (b"X-Twice", "zwölf".encode()),
    ]
    async with serve(answers(NO_CONTENT)) as server, client.transport() as over:
        url = server.url.replace("/hook", "/a%2Fb?x=[1]&y=%20'")
        stream = httpx.ByteStream(BODY)
        response = await over.handle_async_request(httpx.Request("POST", url, headers=headers, stream=stream))
        await response.aclose()
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    assert server.requests == [b"POST /a%2Fb?x=[1]&y=%20' HTTP/1.1\r\n" + head + b"\r\n" + BODY]


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 8 * 1024 * 1024])
async def test_sends_a_body_of_any_size_with_its_length(client: Client, size: int) -> None:
    """An empty CDR and one of 8 MiB arrive whole."""
    body = os.urandom(size)
    async with serve(answers(NO_CONTENT)) as server, client.transport() as over:
        assert await post(over, server.url, body) == 204
        assert await post(over, server.url, body) == 204
    for sent in server.requests:
        head, _, received = sent.partition(b"\r\n\r\n")
        assert received == body
        assert b"content-length: %d" % size in head.lower()
        assert b"transfer-encoding" not in head.lower()
    assert server.connections == 1


async def test_a_body_that_comes_in_pieces_is_sent_whole(client: Client) -> None:
    """A stream of any kind will do, if its length is announced."""

    class Pieces(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
            yield BODY[:9]
            yield BODY[9:]

    headers = [(b"host", b"crm.example"), (b"content-length", str(len(BODY)).encode())]
    async with serve(answers(NO_CONTENT)) as server, client.transport() as over:
        sent = httpx.Request("POST", server.url, headers=headers, stream=Pieces())
        await (await over.handle_async_request(sent)).aclose()
    assert server.requests[0].endswith(b"\r\n\r\n" + BODY)


async def test_a_large_body_does_not_fill_the_memory(ours: Client) -> None:
    """While the receiver does not read, no more than a little is handed to the event loop."""

    async def behave(connection: Connection) -> None:
        await connection.reader.readexactly(1)  # asyncio reads ahead, up to twice MOST_BUFFERED
        await asyncio.Event().wait()

    size = 64 * 1024 * 1024
    body = bytes(size)
    async with serve(behave) as server, ours.transport() as over:
        tracemalloc.start()
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await over.handle_async_request(request(server.url, body))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < size / 2


@pytest.mark.parametrize("status", [200, 302, 307, 401, 404, 500, 503, 600, 999])
async def test_hands_back_any_status_as_it_is(client: Client, status: int) -> None:
    """Nothing is followed, retried or raised because of a status."""
    answer = b"HTTP/1.1 %d X\r\nlocation: /elsewhere\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nhi" % status
    async with serve(answers(answer)) as server, client.transport() as over:
        assert await post(over, server.url) == status
        assert await post(over, server.url) == status
    assert len(server.requests) == 2
    assert not any(b"cookie" in request for request in server.requests)


async def test_hands_back_headers_and_the_body(client: Client) -> None:
    """Retry-After, and what a receiver says of an error, are there for the caller."""
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\ntransfer-encoding: chunked\r\n\r\n3\r\nbus\r\n1\r\ny\r\n0\r\n\r\n"
    async with serve(answers(answer)) as server, client.transport() as over:
        response = await over.handle_async_request(httpx.Request("POST", server.url, content=BODY))
        assert await response.aread() == b"busy"
    assert response.headers.get("retry-after") == "7"


async def test_takes_no_proxy_from_the_environment(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the configuration names a proxy."""
    with refused() as nowhere:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, nowhere)
        async with serve(answers(NO_CONTENT)) as server, client.transport() as over:
            assert await post(over, server.url) == 204


async def test_a_header_with_a_line_break_is_an_error_of_httpx(client: Client) -> None:
    """One header cannot become two."""
    async with serve(answers(NO_CONTENT)) as server, client.transport() as over:
        for value in (b"a\r\nb: c", b"a\nb: c", b"a\rb"):
            with pytest.raises(httpx.LocalProtocolError):
                await over.handle_async_request(httpx.Request("POST", server.url, headers=[(b"x", value)], content=b""))
    assert not server.requests


# Connections


async def test_keeps_connections(client: Client) -> None:
    """One after the other, attempts share a connection; at once, they have one each."""
    async with serve(answers(NO_CONTENT)) as server, client.transport(concurrency=8) as over:
        for _ in range(3):
            assert await post(over, server.url) == 204
        assert server.connections == 1
        for _ in range(3):
            assert await asyncio.gather(*(post(over, server.url) for _ in range(8))) == [204] * 8
        assert server.connections <= 8


async def test_a_connection_each_without_keep_alive(client: Client) -> None:
    """KEEP_ALIVE=false: the receiver is told, and the connection is closed."""
    async with serve(answers(NO_CONTENT)) as server, client.transport(keep_alive=False) as over:
        for _ in range(3):
            assert await post(over, server.url) == 204
        await server.until(lambda server: server.open_connections == 0)
    assert server.connections == 3
    assert all(b"\r\nconnection: close\r\n" in request.lower() for request in server.requests)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=["close", "http-1.0"],
)
async def test_does_not_use_again_what_the_receiver_closes(client: Client, answer: bytes) -> None:
    """`Connection: close`, and HTTP/1.0, mean it."""
    async with serve(answers(answer)) as server, client.transport() as over:
        assert [await post(over, server.url) for _ in range(2)] == [200, 200]
        await server.until(lambda server: server.open_connections == 0)
    assert server.connections == 2


async def test_closes_a_connection_that_stays_idle() -> None:
    """Idle connections go away by themselves, before the receiver drops them."""
    made = DirectTransport(endpoint(), tls_context(endpoint()), Resolver(), keep_alive=0.05)
    async with serve(answers(NO_CONTENT)) as server, made as over:
        for _ in range(2):
            assert await asyncio.gather(*(post(over, server.url) for _ in range(2))) == [204, 204]
            await server.until(lambda server: server.open_connections == 0)


@pytest.mark.parametrize("failure", [resets_after_the_request, closes_after_the_request])
async def test_sends_again_what_a_reused_connection_lost(
    client: Client, failure: Callable[[Connection], Awaitable[None]]
) -> None:
    """A connection that dies at its second request is no failure of that request."""
    async with serve(fails_when_reused(failure)) as server, client.transport() as over:
        assert await post(over, server.url) == 204
        assert await post(over, server.url) == 204
    assert server.connections == 2
    assert len(server.requests) == 3


@pytest.mark.parametrize("failure", [resets_after_the_request, closes_after_the_request])
async def test_does_not_send_again_what_a_new_connection_lost(
    client: Client, failure: Callable[[Connection], Awaitable[None]]
) -> None:
    """A receiver that drops every request is asked once in an attempt."""
    async with serve(failure) as server, client.transport() as over:
        with pytest.raises(ConnectionLostError):
            await post(over, server.url)
    assert len(server.requests) == 1


async def test_sends_again_only_once(client: Client) -> None:
    """When the second try is lost as well, the attempt has failed, however many connections are idle."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.server.until(lambda server: server.connections >= 3)
        if connection.number <= 3:
            await connection.send(NO_CONTENT)
            await connection.request()

    async with serve(behave) as server, client.transport() as over:
        assert await asyncio.gather(*(post(over, server.url) for _ in range(3))) == [204] * 3
        with pytest.raises(ConnectionLostError):
            await post(over, server.url)
    assert len(server.requests) == 5


async def test_does_not_send_again_once_an_answer_has_begun(client: Client) -> None:
    """Whoever has sent half a status line has seen the request."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(NO_CONTENT)
        await connection.request()
        await connection.send(b"HTTP/1.1 20")

    async with serve(behave) as server, client.transport() as over:
        assert await post(over, server.url) == 204
        with pytest.raises(httpx.RemoteProtocolError):
            await post(over, server.url)
    assert len(server.requests) == 2


async def test_sends_again_what_was_answered_408_on_a_reused_connection(client: Client) -> None:
    """A receiver that gave up waiting for a next request has not seen this one; on a new connection 408 counts."""
    timed_out = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(NO_CONTENT if connection.number == 1 else timed_out)
        await connection.request()
        await connection.send(timed_out)

    async with serve(behave) as server, client.transport() as over:
        assert await post(over, server.url) == 204
        assert await post(over, server.url) == 408
    assert server.connections == 2


async def test_a_request_that_is_cancelled_takes_its_connection_with_it(client: Client) -> None:
    """An answer that comes after the deadline is never taken for that of another request."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        if connection.number == 1:
            await connection.left()
        else:
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await connection.left()

    async with serve(behave) as server, client.transport(concurrency=1) as over:
        first = asyncio.create_task(post(over, server.url))
        await eventually(lambda: server.requests)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await post(over, server.url) == 200
        await server.until(lambda server: server.open_connections <= 1)


async def test_after_it_was_closed_it_raises_only_what_httpx_knows(client: Client) -> None:
    """A delivery that outlives the transport fails like any other, and leaves no connection behind."""
    async with (
        serve(answers(NO_CONTENT)) as server,
        client.transport() as over,
    ):
        await post(over, server.url)
        await over.aclose()
        with pytest.raises(httpx.TransportError):
            await post(over, server.url)
        await server.until(lambda server: server.open_connections == 0)
