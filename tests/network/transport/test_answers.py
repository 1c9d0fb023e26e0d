"""What is an answer to this request, and what is not."""

import asyncio
import contextlib
import json

import httpx
import pytest

from app.delivery.failures import failure_kind
from app.delivery.transport.direct import KEEP_ALIVE
from tests.network.transport.client import OK, Client, answer, post, post_fails, request, status_of
from tests.support.http_faults import NO_CONTENT, Connection, answers, answers_then_closes, answers_then_hangs, serve

# A status line decides


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46" * 40 + b"\r\n\r\n",
        b"HTTP/1.1 abc Hello\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 -200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        b"<html><body>200 OK</body></html>\r\n\r\n",
        b"\r\n\r\n<p>taken</p>\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ],
    ids=[
        *("other-protocol", "binary", "status", "four-digits", "two-digits", "negative", "0xx"),
        *("no-status", "http-0.9", "empty-lines", "101"),
    ],
)
async def test_what_is_not_http(client: Client, garbage: bytes) -> None:
    """Anything but HTTP/1.x is an error of the protocol, whose message quotes none of it."""
    async with serve(answers_then_closes(garbage)) as server:
        error = await client.post_fails(server.url)
    assert isinstance(error, httpx.RemoteProtocolError)
    assert failure_kind(error) == "protocol"
    assert str(error) == "the answer is cut off, or not HTTP/1.x"


async def test_garbage_is_not_waited_for(ours: Client) -> None:
    """What cannot become a status line any more ends the attempt, though the receiver stays."""
    for garbage in (b"220 mail.example ESMTP", b"HTTP/2 200\r\n", b"HTTP/1.1 " + b"2" * 10_000):
        async with serve(answers_then_hangs(garbage)) as server, ours.transport() as over:
            assert failure_kind(await post_fails(over, server.url)) == "protocol"
            await server.until(lambda server: server.open_connections == 0)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 299 Gef\xfcllt mir\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n2;a=b\r\nok\r\n0\r\nx: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\tc\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\ntaken",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok, and more than announced\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        OK + OK,
        OK + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK,
    ],
    ids=[
        *("plain", "no-reason", "empty-reason", "http-1.0", "latin-1", "length-twice", "bare-lf", "chunked", "folded"),
        *("204-with-a-body", "204-in-chunks", "too-long", "not-gzip", "two-answers", "stray-line-break", "interim"),
    ],
)
async def test_a_success_in_any_dress(client: Client, head: bytes) -> None:
    """What was taken is not sent again because of what follows the status."""
    async with serve(answers(head)) as server, client.transport() as over:
        for _ in range(3):
            assert await status_of(over, server.url) // 100 == 2
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx\x00y: z\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a chunk\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 1024 * 1024 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: a\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.7 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=[
        *("no-colon", "no-name", "nul", "two-lengths", "both-lengths", "no-length", "bad-chunk"),
        *("huge-header", "many-headers", "no-headers", "half-a-header", "version"),
    ],
)
async def test_a_success_whatever_follows_its_status_line(client: Client, head: bytes) -> None:
    """A terminated status line with 2xx decides, be the rest broken, cut off, or never there."""
    for behave in (answers_then_closes(head), answers_then_hangs(head)):
        async with serve(behave) as server, client.transport() as over:
            assert await status_within_a_second(over, server.url) == 200
            assert await status_within_a_second(over, server.url) == 200
            await server.until(lambda server: server.open_connections == 0)
        assert server.connections == 2


async def status_within_a_second(over: httpx.AsyncBaseTransport, url: str) -> int:
    """Return the status, as an attempt learns it: that it knows it already decides, if its deadline falls first."""
    response = None
    with contextlib.suppress(TimeoutError, httpx.TransportError):
        async with asyncio.timeout(1):
            response = await over.handle_async_request(request(url))
            await response.aread()
    assert response
    await response.aclose()
    return response.status_code


@pytest.mark.parametrize("status", [400, 503])
async def test_a_refusal_whatever_follows_its_status_line(client: Client, status: int) -> None:
    """The same holds of a refusal, as soon as its head is known to be broken."""
    for rest in (b"no colon here\r\n\r\n", b"x: " + b"a" * 1024 * 1024, b"retry-af"):
        behave = answers_then_closes(b"HTTP/1.1 %d No\r\n" % status + rest)
        async with serve(behave) as server, client.transport() as over:
            assert await status_of(over, server.url) == status


async def test_a_head_without_end(client: Client) -> None:
    """A head of 10 MiB is not read to its end."""
    behave = answers_then_hangs(b"HTTP/1.1 503 Busy\r\n" + b"x: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 300_000)
    async with serve(behave) as server, client.transport() as over:
        assert await status_of(over, server.url) == 503
        await server.until(lambda server: server.open_connections == 0)


async def test_interim_answers_without_end(client: Client) -> None:
    """A flood of 1xx, or one endless one, is no answer."""
    for flood in (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000 + OK, b"HTTP/1.1 100 C\r\nx: " + b"a" * 1024 * 1024):
        async with serve(answers_then_closes(flood)) as server, client.transport() as over:
            assert failure_kind(await post_fails(over, server.url)) == "protocol"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
async def test_an_answer_in_small_pieces(client: Client, size: int) -> None:
    """Where a network cuts an answer makes no difference to it."""
    whole = b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 503 No\r\nretry-after: 9\r\ntransfer-encoding: chunked\r\n\r\n"
    whole += b"2\r\nbu\r\n2\r\nsy\r\n0\r\n\r\n"

    async def behave(connection: Connection) -> None:
        while True:
            await connection.request()
            for start in range(0, len(whole), size):
                connection.send_at_once(whole[start : start + size])
                await asyncio.sleep(0)

    async with serve(behave) as server, client.transport() as over:
        for _ in range(2):
            response = await over.handle_async_request(request(server.url))
            assert await response.aread() == b"busy"
            await response.aclose()
            assert (response.status_code, response.headers["retry-after"]) == (503, "9")
    assert server.connections == 1


async def test_304_has_no_body(client: Client) -> None:
    """Nor is one waited for, whatever length is announced."""
    async with (
        serve(answers(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n")) as server,
        client.transport() as over,
    ):
        assert await answer(over, server.url) == (304, b"")
        assert await answer(over, server.url) == (304, b"")
    assert server.connections == 1


# Never an answer to the wrong request


@pytest.mark.parametrize(
    "answer",
    [
        NO_CONTENT + b"taken",
        OK + OK,
        OK + b"\r\n",
        OK + b"H",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok, and more",
    ],
    ids=["204-with-a-body", "two-answers", "line-break", "a-letter", "too-long"],
)
async def test_what_follows_an_answer_closes_its_connection(client: Client, answer: bytes) -> None:
    """A byte that belongs to no answer could be the beginning of one: of the next."""
    async with serve(answers(answer)) as server, client.transport() as over:
        assert await post(over, server.url) // 100 == 2
        assert await post(over, server.url) // 100 == 2
    assert server.connections == 2


async def test_an_answer_before_the_request(client: Client) -> None:
    """What was sent before the request was is not its answer."""

    async def behave(connection: Connection) -> None:
        connection.send_at_once(OK)
        await connection.left()

    async with serve(behave) as server, client.transport() as over:
        error = await post_fails(over, server.url)
    assert failure_kind(error) == "protocol"


@pytest.mark.parametrize("stray", [OK, b"HTTP/1.1 200 OK\r\n", b"H", b"\r\n"], ids=["whole", "line", "letter", "crlf"])
@pytest.mark.parametrize("calm", [True, False], ids=["calm", "busy"])
async def test_an_answer_on_an_idle_connection(
    client: Client,
    stray: bytes,
    calm: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A second answer that nobody asked for is never taken for that of the next request, which is cut off."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        if connection.number == 1:
            first.append(connection)
            await connection.send(OK)
            await connection.left()

    first: list[Connection] = []
    async with serve(behave) as server, client.transport() as over:
        assert await post(over, server.url) == 200
        first[0].send_at_once(stray)
        if calm and client.is_ours:  # httpx looks only when it needs a connection
            await server.until(lambda server: server.open_connections == 0)
        error = await post_fails(over, server.url)
    assert failure_kind(error) == "connect"
    assert server.connections == 2
    if client.is_ours:
        told = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
        assert told in ([], ["endpoint.bytes_unasked"])


async def test_408_on_an_idle_connection_is_no_answer(client: Client) -> None:
    """Some servers say it before they close what is idle; the next request gets a new connection."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(NO_CONTENT)
        if connection.number == 1:
            connection.send_at_once(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n")
            connection.writer.write_eof()
        await connection.left()

    async with serve(behave) as server, client.transport() as over:
        assert await post(over, server.url) == 204
        assert await post(over, server.url) == 204
    assert server.connections == 2


def test_idle_connections_are_closed_before_most_receivers_do() -> None:
    """The usual limit of receivers is 5 s."""
    assert KEEP_ALIVE == 4
