"""What a receiver, a network or a proxy can do to one request, and what the transport makes of it."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from pydantic import SecretStr

import app.delivery.transport
from app.config.endpoint import EndpointSettings
from app.delivery.failures import ConnectionLostError, NameResolutionError, TLSError, failure_kind
from app.delivery.transport import build_transport
from app.errors import ConfigurationError
from tests.certificates import Authority, self_signed
from tests.http_faults import (
    NO_CONTENT,
    Connection,
    answers,
    answers_then_closes,
    answers_then_hangs,
    closes_after_the_request,
    drips_for_ever,
    fails_when_reused,
    is_an_http_proxy,
    never_accepts,
    refused,
    resets_after_the_request,
    resets_before_the_request,
    sends_for_ever,
    serve,
)

BODY = b'{"type": "cdr", "payload": {"number": "0825550142"}}\xff\x00'


def endpoint(**overrides: Any) -> EndpointSettings:
    return EndpointSettings(name="crm", url=SecretStr("http://127.0.0.1/hook"), **({"concurrency": 4} | overrides))


@asynccontextmanager
async def transport(**overrides: Any) -> AsyncIterator[httpx.AsyncBaseTransport]:
    async with build_transport(endpoint(**overrides)) as made:
        yield made


async def post(over: httpx.AsyncBaseTransport, url: str, body: bytes = BODY) -> int:
    """Do what an endpoint does with one request: send it, read the answer, let go of it."""
    async with asyncio.timeout(20):
        response = await over.handle_async_request(httpx.Request("POST", url, content=body))
        try:
            async for _ in response.aiter_raw():
                pass
        finally:
            await response.aclose()
    return response.status_code


async def post_fails(url: str, **overrides: Any) -> httpx.TransportError:
    with pytest.raises(httpx.TransportError) as caught:
        async with transport(**overrides) as over:
            await post(over, url)
    return caught.value


# What is sent


async def test_sends_the_bytes_and_the_headers_that_it_was_given_and_nothing_else() -> None:
    """The receiver gets the exact bytes, with a length, never chunked, and no header of the client's own."""
    headers = [
        (b"host", b"crm.example"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"cdr-forwarder/1"),
        (b"content-length", str(len(BODY)).encode()),
        (b"X-Twice", b"1"),
        (b"X-Twice", "zwölf".encode()),
    ]
    async with serve(answers(NO_CONTENT)) as server, transport() as over:
        url = server.url.replace("/hook", "/a%2Fb?x=[1]&y=%20'")
        response = await over.handle_async_request(httpx.Request("POST", url, headers=headers, content=BODY))
        await response.aclose()
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    assert server.requests == [b"POST /a%2Fb?x=[1]&y=%20' HTTP/1.1\r\n" + head + b"\r\n" + BODY]


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1])
async def test_sends_a_body_of_any_size_with_its_length(size: int) -> None:
    """An empty CDR and one above 1 MiB arrive whole."""
    body = os.urandom(size)
    async with serve(answers(NO_CONTENT)) as server, transport() as over:
        assert await post(over, server.url, body) == 204
    head, _, received = server.requests[0].partition(b"\r\n\r\n")
    assert received == body
    assert b"content-length: %d" % size in head.lower()
    assert b"transfer-encoding" not in head.lower()


@pytest.mark.parametrize("status", [200, 302, 307, 401, 404, 500, 503])
async def test_hands_back_any_status_as_it_is(status: int) -> None:
    """Nothing is followed, retried or raised by the client library because of a status."""
    answer = b"HTTP/1.1 %d X\r\nlocation: /elsewhere\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nhi" % status
    async with serve(answers(answer)) as server, transport() as over:
        assert await post(over, server.url) == status
        assert await post(over, server.url) == status
    assert len(server.requests) == 2
    assert not any(b"cookie" in request for request in server.requests)


async def test_takes_no_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the configuration names a proxy."""
    with refused() as nowhere:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, nowhere)
        async with serve(answers(NO_CONTENT)) as server, transport() as over:
            assert await post(over, server.url) == 204


# Connections


async def test_keeps_connections_and_no_more_than_its_concurrency() -> None:
    """Forty requests at once over four connections, and each connection is used again."""
    async with serve(answers(NO_CONTENT)) as server, transport(concurrency=4) as over:
        assert await asyncio.gather(*(post(over, server.url) for _ in range(40))) == [204] * 40
    assert 1 <= server.connections <= 4


async def test_closes_a_connection_that_stays_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle connections go away by themselves, before the receiver drops them."""
    assert app.delivery.transport.KEEP_ALIVE_SECONDS == 4
    monkeypatch.setattr(app.delivery.transport, "KEEP_ALIVE_SECONDS", 0.05)
    async with serve(answers(NO_CONTENT)) as server, transport() as over:
        await post(over, server.url)
        async with asyncio.timeout(5):  # well below what aiohttp keeps by itself
            await server.until(lambda server: server.open_connections == 0)


@pytest.mark.parametrize("failure", [resets_after_the_request, closes_after_the_request])
async def test_sends_again_what_a_reused_connection_lost(failure: Callable[[Connection], Awaitable[None]]) -> None:
    """A connection that dies at its second request is no failure of that request."""
    async with serve(fails_when_reused(failure)) as server, transport() as over:
        assert await post(over, server.url) == 204
        assert await post(over, server.url) == 204
    assert server.connections == 2
    assert len(server.requests) == 3


@pytest.mark.parametrize("failure", [resets_after_the_request, closes_after_the_request])
async def test_does_not_send_again_what_a_new_connection_lost(
    failure: Callable[[Connection], Awaitable[None]],
) -> None:
    """A receiver that drops every request is asked once in an attempt."""
    async with serve(failure) as server, transport() as over:
        with pytest.raises(ConnectionLostError):
            await post(over, server.url)
    assert len(server.requests) == 1


async def test_sends_again_only_once() -> None:
    """When the second try is lost as well, the attempt has failed."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        if connection.number == 1:
            await connection.send(NO_CONTENT)
            await connection.request()

    async with serve(behave) as server, transport() as over:
        assert await post(over, server.url) == 204
        with pytest.raises(ConnectionLostError):
            await post(over, server.url)
    assert len(server.requests) == 3


async def test_does_not_send_again_once_an_answer_has_begun() -> None:
    """Whoever has sent half a status line has seen the request."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(NO_CONTENT)
        await connection.request()
        await connection.send(b"HTTP/1.1 20")

    async with serve(behave) as server, transport() as over:
        assert await post(over, server.url) == 204
        with pytest.raises(httpx.RemoteProtocolError):
            await post(over, server.url)
    assert len(server.requests) == 2


async def test_a_request_that_is_cancelled_takes_its_connection_with_it() -> None:
    """An answer that comes after the deadline is never taken for that of another request."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        if connection.number == 1:
            await connection.left()
        else:
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await connection.left()

    async with serve(behave) as server, transport(concurrency=1) as over:
        first = asyncio.create_task(post(over, server.url))
        await server.until(lambda server: server.connections == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await post(over, server.url) == 200
        await server.until(lambda server: server.open_connections <= 1)


# Faults before an answer


async def test_refused() -> None:
    """Nobody listens."""
    with refused() as url:
        error = await post_fails(url)
    assert type(error) is httpx.ConnectError
    assert failure_kind(error) == "connect"


async def test_a_name_without_an_address() -> None:
    """A name that DNS does not know is told from a refusal."""
    error = await post_fails("http://nobody.invalid/hook")
    assert isinstance(error, NameResolutionError)
    assert failure_kind(error) == "dns"


async def test_hang_in_connect() -> None:
    """The time to connect is limited by its own setting."""
    with never_accepts() as url:
        error = await post_fails(url, connect_timeout=0.2)
    assert isinstance(error, httpx.ConnectTimeout)


async def test_hang_in_the_handshake_of_tls() -> None:
    """The handshake counts as connecting."""
    async with serve(Connection.left) as server:
        error = await post_fails(server.url.replace("http:", "https:"), connect_timeout=0.2)
    assert isinstance(error, httpx.ConnectTimeout)


async def test_hang_before_the_headers() -> None:
    """The caller's deadline ends it, and the connection is dropped."""
    async with serve(answers_then_hangs(b"HTTP/1.1 20")) as server, transport() as over:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await post(over, server.url)
        await server.until(lambda server: server.open_connections == 0)


async def test_reset_before_the_request() -> None:
    """A reset of a new connection is an error of the network."""
    async with serve(resets_before_the_request) as server:
        error = await post_fails(server.url)
    assert isinstance(error, httpx.NetworkError)
    assert failure_kind(error) == "connect"


async def test_reset_after_the_request() -> None:
    """The request may have been seen; that it was not answered is all we know."""
    async with serve(resets_after_the_request) as server:
        error = await post_fails(server.url)
    assert isinstance(error, httpx.ReadError)
    assert failure_kind(error) == "connect"


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46" * 40 + b"\r\n\r\n",
        b"HTTP/1.1 abc Hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 1024 * 1024 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: a\r\n" * 100_000 + b"\r\n",
    ],
    ids=["other-protocol", "binary", "status", "header", "huge-header", "many-headers"],
)
async def test_what_is_not_http(garbage: bytes) -> None:
    """Anything but HTTP of a sane size is an error of the protocol, whose message quotes none of it."""
    async with serve(answers_then_hangs(garbage)) as server:
        error = await post_fails(server.url)
    assert isinstance(error, httpx.RemoteProtocolError)
    assert failure_kind(error) == "protocol"
    assert str(error).isidentifier()


async def test_interim_answers_are_passed_over() -> None:
    """A 100 or 103 that nobody asked for is not the answer."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with serve(answers(interim + NO_CONTENT)) as server, transport() as over:
        assert await post(over, server.url) == 204
        assert await post(over, server.url) == 204


async def test_an_answer_while_the_request_is_still_being_sent() -> None:
    """A receiver that says 413 to the head of a large request, and hangs up, is no foreign exception."""

    async def behave(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    async with serve(behave) as server, transport() as over:
        try:
            assert await post(over, server.url, bytes(8 * 1024 * 1024)) == 413
        except httpx.NetworkError as error:  # the reset overtook the answer
            assert failure_kind(error) == "connect"  # noqa: PT017  # either is right; the network decides


# Faults after the status


@pytest.mark.parametrize(
    "behaviour",
    [
        answers_then_hangs(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        answers_then_hangs(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"),
        drips_for_ever,
    ],
    ids=["hang", "hang-in-a-chunk", "drip"],
)
async def test_a_body_that_does_not_end(behaviour: Callable[[Connection], Awaitable[None]]) -> None:
    """The status is known before the body; giving the body up drops the connection."""
    async with serve(behaviour) as server, transport() as over:
        response = await over.handle_async_request(httpx.Request("POST", server.url, content=BODY))
        assert response.status_code == 200
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
    ],
    ids=["short", "short-chunk", "broken-chunk"],
)
async def test_a_body_that_breaks_off(beginning: bytes) -> None:
    """The status is known although the body is broken, and the error is httpx's."""
    async with serve(answers_then_closes(beginning)) as server, transport() as over:
        response = await over.handle_async_request(httpx.Request("POST", server.url, content=BODY))
        assert response.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in response.aiter_raw():
                pass
        await response.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        NO_CONTENT + b"taken",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok, and more than announced\r\n\r\n",
    ],
    ids=["204-with-a-body", "204-in-chunks", "200-too-long"],
)
async def test_bytes_after_an_answer_do_not_spoil_it(answer: bytes) -> None:
    """What was taken is not sent again because of what follows, nor is its connection used again."""
    async with serve(answers(answer)) as server, transport() as over:
        assert await post(over, server.url) // 100 == 2
        assert await post(over, server.url) // 100 == 2
    assert server.connections == 2


async def test_a_body_that_is_not_what_its_encoding_says() -> None:
    """Nothing is decompressed, so nothing can fail to."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello"
    async with serve(answers(answer)) as server, transport() as over:
        assert await post(over, server.url) == 200


@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
async def test_a_body_without_end_is_dropped_not_drained(encrypted: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Whoever stops reading lets go of the connection at once, however much is on its way."""
    authority = Authority(tmp_path)
    async with (
        serve(sends_for_ever, authority.server() if encrypted else None) as server,
        transport(ca_file=authority.ca_file) as over,
    ):
        response = await over.handle_async_request(httpx.Request("POST", server.url, content=BODY))
        read = 0
        async for chunk in response.aiter_raw():
            read += len(chunk)
            if read > 64 * 1024:
                break
        await response.aclose()
        await server.until(lambda server: server.open_connections == 0)
    assert response.status_code == 200
    assert read < 1024 * 1024


# TLS


async def test_a_certificate_of_an_unknown_authority(tmp_path: Path) -> None:
    """Without CA_FILE, only what the system trusts is trusted."""
    async with serve(answers(NO_CONTENT), Authority(tmp_path).server()) as server:
        error = await post_fails(server.url)
        assert not server.requests
    assert isinstance(error, TLSError)
    assert failure_kind(error) == "tls"


async def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    """A certificate has to be for the host of the URL."""
    authority = Authority(tmp_path)
    async with serve(answers(NO_CONTENT), authority.server("other.example")) as server:
        error = await post_fails(server.url, ca_file=authority.ca_file)
    assert isinstance(error, TLSError)


async def test_a_private_authority_with_ca_file(tmp_path: Path) -> None:
    """CA_FILE adds an authority."""
    authority = Authority(tmp_path)
    async with (
        serve(answers(NO_CONTENT), authority.server()) as server,
        transport(ca_file=authority.ca_file) as over,
    ):
        assert await post(over, server.url) == 204
        assert await post(over, server.url) == 204
    assert server.connections == 1


async def test_a_self_signed_certificate_with_ca_file(tmp_path: Path) -> None:
    """CA_FILE may be the receiver's own certificate."""
    tls, certificate_file = self_signed(tmp_path)
    async with serve(answers(NO_CONTENT), tls) as server, transport(ca_file=certificate_file) as over:
        assert await post(over, server.url) == 204


async def test_a_self_signed_certificate_without_verification(tmp_path: Path) -> None:
    """TLS_VERIFY=false takes any certificate."""
    tls, _ = self_signed(tmp_path)
    async with serve(answers(NO_CONTENT), tls) as server, transport(tls_verify=False) as over:
        assert await post(over, server.url) == 204


async def test_a_client_certificate(tmp_path: Path) -> None:
    """CERT_FILE and KEY_FILE prove who we are."""
    authority = Authority(tmp_path)
    certificate, key = authority.client_files()
    async with (
        serve(answers(NO_CONTENT), authority.server(asks_for_a_certificate=True)) as server,
        transport(ca_file=authority.ca_file, cert_file=certificate, key_file=key) as over,
    ):
        assert await post(over, server.url) == 204


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_client_certificate_where_one_is_asked_for(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """The receiver's refusal is an error of TLS, also where it comes after the handshake."""
    authority = Authority(tmp_path)
    tls = authority.server(asks_for_a_certificate=True)
    tls.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusal = asyncio.create_task(asyncio.to_thread(_refuse_one_client, listener, tls))
        error = await post_fails(f"https://127.0.0.1:{listener.getsockname()[1]}/hook", ca_file=authority.ca_file)
        await refusal
    assert isinstance(error, TLSError)


def _refuse_one_client(listener: socket.socket, tls: ssl.SSLContext) -> None:
    """A blocking socket, because asyncio's TLS drops the alert that tells the client why."""
    connection, _ = listener.accept()
    with tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as encrypted:
        with pytest.raises(ssl.SSLError):
            encrypted.do_handshake()
        # Closing with the request unread would send a reset, which may overtake the alert.
        with socket.socket(fileno=encrypted.detach()) as plain:
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(65536):
                pass


async def test_https_where_http_is_spoken() -> None:
    """A plain answer to a TLS handshake is an error of TLS."""

    async def behave(connection: Connection) -> None:
        await connection.reader.read(1)
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.left()

    async with serve(behave) as server:
        error = await post_fails(server.url.replace("http:", "https:"))
    assert isinstance(error, TLSError)


def test_a_certificate_file_that_is_none_is_bad_configuration(tmp_path: Path) -> None:
    """It is found at start, and the message names the endpoint."""
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("nonsense")
    for overrides in ({"ca_file": nonsense}, {"cert_file": nonsense, "key_file": nonsense}):
        with pytest.raises(ConfigurationError, match="endpoint crm: CA_FILE, CERT_FILE or KEY_FILE"):
            build_transport(endpoint(**overrides))


# Proxy


def proxy_at(port: int, user: str = "") -> SecretStr:
    return SecretStr(f"http://{user}127.0.0.1:{port}")


async def test_http_through_a_proxy() -> None:
    """A plain request goes to the proxy in absolute form, with the credentials of its URL."""
    async with serve(is_an_http_proxy) as proxy, transport(proxy=proxy_at(proxy.port, "us%40er:pass@")) as over:
        assert await post(over, "http://crm.invalid/hook") == 204
    assert proxy.requests[0].startswith(b"POST http://crm.invalid/hook HTTP/1.1\r\n")
    assert b"proxy-authorization: basic dxnazxi6cgfzcw==\r\n" in proxy.requests[0].lower()
    assert proxy.requests[0].endswith(b"\r\n\r\n" + BODY)


async def test_https_through_a_proxy(tmp_path: Path) -> None:
    """An encrypted request goes through a tunnel: the proxy sees neither it nor its headers."""
    authority = Authority(tmp_path)
    async with (
        serve(answers(NO_CONTENT), authority.server()) as server,
        serve(is_an_http_proxy) as proxy,
        transport(ca_file=authority.ca_file, proxy=proxy_at(proxy.port, "user:pass@")) as over,
    ):
        assert await post(over, server.url) == 204
        assert await post(over, server.url) == 204
    assert len(proxy.requests) == 1
    assert proxy.requests[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % server.port)
    assert b"proxy-authorization: basic dxnlcjpwyxnz\r\n" in proxy.requests[0].lower()
    assert len(server.requests) == 2
    assert b"proxy-authorization" not in server.requests[0].lower()


async def test_a_proxy_that_refuses() -> None:
    """The error says proxy, and not its password."""
    async with serve(answers(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")) as proxy:
        error = await post_fails("https://crm.invalid/hook", proxy=proxy_at(proxy.port, "user:s3cret@"))
    assert isinstance(error, httpx.ProxyError)
    assert failure_kind(error) == "connect"
    assert "s3cret" not in repr(error)


async def test_a_proxy_that_is_not_there() -> None:
    """A proxy that cannot be reached is told from an endpoint that cannot."""
    with refused() as url:
        error = await post_fails("https://crm.invalid/hook", proxy=SecretStr(url))
    assert isinstance(error, httpx.ProxyError)


async def test_a_proxy_that_hangs_in_connect() -> None:
    """Waiting for the tunnel counts as connecting."""
    async with serve(Connection.left) as proxy:
        error = await post_fails("https://crm.invalid/hook", proxy=proxy_at(proxy.port), connect_timeout=0.2)
    assert isinstance(error, httpx.ConnectTimeout)


# What is made of it


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectTimeout(""), "timeout"),
        (httpx.ReadTimeout(""), "timeout"),
        (httpx.WriteTimeout(""), "timeout"),
        (httpx.PoolTimeout(""), "timeout"),
        (NameResolutionError(""), "dns"),
        (TLSError(""), "tls"),
        (httpx.ConnectError(""), "connect"),
        (httpx.ReadError(""), "connect"),
        (httpx.WriteError(""), "connect"),
        (httpx.CloseError(""), "connect"),
        (ConnectionLostError(""), "connect"),
        (httpx.ProxyError(""), "connect"),
        (httpx.RemoteProtocolError(""), "protocol"),
        (httpx.LocalProtocolError(""), "other"),
        (httpx.UnsupportedProtocol(""), "other"),
        (httpx.TransportError(""), "other"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_error_is_of_one_kind(error: httpx.TransportError, kind: str) -> None:
    """The kinds are a closed set, because they are the label of a metric."""
    assert failure_kind(error) == kind


async def test_a_header_that_cannot_be_sent_is_an_error_of_httpx() -> None:
    """Neither a line break nor what is no UTF-8 leaves the house, nor raises a foreign exception."""
    async with serve(answers(NO_CONTENT)) as server, transport() as over:
        for value in (b"a\r\nb: c", b"\xff"):
            with pytest.raises(httpx.LocalProtocolError):
                await over.handle_async_request(httpx.Request("POST", server.url, headers=[(b"x", value)], content=b""))
    assert not server.requests


async def test_after_it_was_closed_it_raises_only_what_httpx_knows() -> None:
    """A delivery that outlives the transport fails like any other."""
    async with serve(answers(NO_CONTENT)) as server, transport() as over:
        await post(over, server.url)
        await over.aclose()
        with pytest.raises(httpx.TransportError):
            await post(over, server.url)


@pytest.mark.parametrize(
    "test",
    [
        test_sends_the_bytes_and_the_headers_that_it_was_given_and_nothing_else,
        test_keeps_connections_and_no_more_than_its_concurrency,
        test_a_request_that_is_cancelled_takes_its_connection_with_it,
        test_refused,
        test_a_name_without_an_address,
        test_hang_in_connect,
        test_hang_in_the_handshake_of_tls,
        test_hang_before_the_headers,
        test_reset_before_the_request,
        test_reset_after_the_request,
        test_an_answer_while_the_request_is_still_being_sent,
        test_sends_again_only_once,
        test_does_not_send_again_once_an_answer_has_begun,
        test_https_where_http_is_spoken,
        test_a_proxy_that_hangs_in_connect,
    ],
)
def test_the_same_holds_on_uvloop(test: Callable[[], Awaitable[None]]) -> None:
    """The service runs on uvloop, whose transports fail in ways of their own."""

    async def run() -> None:
        await test()

    uvloop.run(run())


@pytest.mark.parametrize(
    "test",
    [
        partial(test_a_body_without_end_is_dropped_not_drained, True),
        test_a_certificate_of_an_unknown_authority,
        test_a_private_authority_with_ca_file,
        test_a_client_certificate,
        test_https_through_a_proxy,
    ],
)
def test_tls_holds_on_uvloop(test: Callable[[Path], Awaitable[None]], tmp_path: Path) -> None:
    """The TLS of uvloop is not that of asyncio."""

    async def run() -> None:
        await test(tmp_path)

    uvloop.run(run())
