"""Whom we trust, whom we are taken for, and how TLS fails."""

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx
import pytest
import trustme

from app.delivery.failures import TLSError, failure_kind
from app.delivery.resolver import Address, Resolver
from app.delivery.transport import build_transport
from app.errors import ConfigurationError
from tests.network.transport.client import OK, Client, answer, endpoint, post, post_fails, request
from tests.support.certificates import Authority, self_signed
from tests.support.http_faults import NO_CONTENT, Connection, answers, sends_for_ever, serve

Behaviour = Callable[[Connection], Awaitable[None]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def refuses(client: Client, tls: ssl.SSLContext, **overrides: object) -> httpx.TransportError:
    """Return the error of an attempt that must not get as far as to show its request."""
    async with serve(answers(NO_CONTENT), tls) as server:
        error = await client.post_fails(server.url, **overrides)
        assert not server.requests
    assert failure_kind(error) == "tls"
    return error


# Whom we trust


async def test_a_private_authority_with_ca_file(client: Client, authority: Authority) -> None:
    """CA_FILE says whom to trust; the connection is used again."""
    async with (
        serve(answers(NO_CONTENT), authority.server()) as server,
        client.transport(ca_file=authority.ca_file) as over,
    ):
        assert [await post(over, server.url) for _ in range(3)] == [204] * 3
    assert server.connections == 1


async def test_a_certificate_of_an_unknown_authority(client: Client, authority: Authority) -> None:
    """Without CA_FILE, only what the system trusts is trusted."""
    await refuses(client, authority.server())


async def test_ca_file_means_only_this_one(
    client: Client, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that the system's authorities vouch for is refused where another one is named."""
    system = tmp_path / "system"
    system.mkdir()
    trusted = Authority(system)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.ca_file))
    async with serve(answers(NO_CONTENT), trusted.server()) as server, client.transport() as over:
        assert await post(over, server.url) == 204
    await refuses(client, trusted.server(), ca_file=authority.ca_file)


async def test_the_end_of_a_certificate_is_known_from_the_handshake(client: Client, authority: Authority) -> None:
    """At each one; not where TLS_VERIFY is false, since Python reads no certificate that it does not verify."""
    ends = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=5)
    told: list[float] = []
    for overrides in ({"ca_file": authority.ca_file}, {"tls_verify": False}):
        settings = endpoint(http_client=client.kind, **overrides)
        async with (
            serve(answers(NO_CONTENT), authority.server(ends=ends)) as server,
            build_transport(settings, on_certificate=told.append) as over,
        ):
            assert [await post(over, server.url) for _ in range(2)] == [204] * 2
    assert told == [ends.timestamp()]


async def test_a_certificate_for_another_name(client: Client, authority: Authority) -> None:
    """A certificate has to be for the host of the URL."""
    await refuses(client, authority.server("other.example"), ca_file=authority.ca_file)


async def test_an_expired_certificate(client: Client, authority: Authority) -> None:
    """Its time counts, and the message says so."""
    ended = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    error = await refuses(client, authority.server(ends=ended), ca_file=authority.ca_file)
    assert "expired" in str(error)


async def test_a_self_signed_certificate(client: Client, tmp_path: Path) -> None:
    """It is refused, unless CA_FILE is that certificate, or TLS_VERIFY=false."""
    tls, certificate_file = self_signed(tmp_path)
    await refuses(client, tls)
    for overrides in ({"ca_file": certificate_file}, {"tls_verify": False}):
        async with serve(answers(NO_CONTENT), tls) as server, client.transport(**overrides) as over:
            assert await post(over, server.url) == 204


def test_a_certificate_file_that_is_none_is_bad_configuration(tmp_path: Path) -> None:
    """It is found at start, and the message names the endpoint."""
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("nonsense")
    for overrides in ({"ca_file": nonsense}, {"cert_file": nonsense, "key_file": nonsense}):
        with pytest.raises(ConfigurationError, match="endpoint crm: CA_FILE, CERT_FILE or KEY_FILE"):
            build_transport(endpoint(**overrides))


# Whom we are taken for


async def test_the_name_of_the_host_and_the_protocol_are_told_in_the_handshake() -> None:
    """SNI, without the dot of an absolute name, and ALPN: a front with many hosts needs both."""
    told: list[str | None] = []
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("crm.invalid").configure_cert(tls)
    tls.set_alpn_protocols(["h2", "http/1.1"])
    tls.sni_callback = lambda _, name, __: told.append(name)

    async def behave(connection: Connection) -> None:
        await connection.request()
        told.append(connection.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await connection.send(OK)

    def look_up(_: str, port: int) -> Sequence[Address]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with authority.cert_pem.tempfile() as ca_file:
        async with serve(behave, tls) as server, build_transport(endpoint(ca_file=ca_file), Resolver(look_up)) as over:
            for host in ("crm.invalid", "crm.invalid."):
                assert await post(over, server.url.replace("127.0.0.1", host)) == 200
    assert told == ["crm.invalid", "http/1.1"] * 2


async def test_a_client_certificate(client: Client, authority: Authority) -> None:
    """CERT_FILE and KEY_FILE prove who we are."""
    certificate, key = authority.client_files()
    ours = {"ca_file": authority.ca_file, "cert_file": certificate, "key_file": key}
    async with (
        serve(answers(NO_CONTENT), authority.server(asks_for_a_certificate=True)) as server,
        client.transport(**ours) as over,
    ):
        assert await post(over, server.url) == 204


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_client_certificate_where_one_is_asked_for(
    client: Client, authority: Authority, version: ssl.TLSVersion
) -> None:
    """The receiver's refusal is an error of TLS, also where it comes after the handshake."""
    tls = authority.server(asks_for_a_certificate=True)
    tls.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusal = asyncio.create_task(asyncio.to_thread(_refuse_one_client, listener, tls))
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/hook"
        error = await client.post_fails(url, ca_file=authority.ca_file)
        await refusal
    assert failure_kind(error) == "tls" or (not client.is_ours and version is ssl.TLSVersion.TLSv1_3)


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


# How it fails


async def test_hang_in_the_handshake(client: Client) -> None:
    """The handshake counts as connecting."""
    async with serve(Connection.left) as server:
        error = await client.post_fails(server.url.replace("http:", "https:"), connect_timeout=0.2)
        await server.until(lambda server: server.open_connections == 0)
    assert isinstance(error, httpx.ConnectTimeout)


async def test_where_http_is_spoken(client: Client) -> None:
    """A plain answer to a handshake is an error of TLS."""

    async def behave(connection: Connection) -> None:
        await connection.reader.read(1)
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.left()

    async with serve(behave) as server:
        error = await client.post_fails(server.url.replace("http:", "https:"))
    assert isinstance(error, TLSError)


async def test_hung_up_in_the_handshake(client: Client) -> None:
    """That is nothing wrong with a certificate."""

    async def behave(connection: Connection) -> None:
        await connection.reader.read(1)

    async with serve(behave) as server:
        error = await client.post_fails(server.url.replace("http:", "https:"))
    assert failure_kind(error) == "connect"


@pytest.mark.parametrize("size", [10, 8 * 1024 * 1024])
async def test_a_body_of_any_size(client: Client, authority: Authority, size: int) -> None:
    """What is written in pieces arrives whole through TLS, too."""
    async with (
        serve(answers(NO_CONTENT), authority.server()) as server,
        client.transport(ca_file=authority.ca_file) as over,
    ):
        assert await post(over, server.url, bytes(size)) == 204
        assert await post(over, server.url, bytes(size)) == 204
    assert [len(sent.partition(b"\r\n\r\n")[2]) for sent in server.requests] == [size, size]


async def test_a_success_before_the_body_was_sent_does_not_count(authority: Authority, ours: Client) -> None:
    """Bytes that TLS has taken, and the network has not, are not sent."""

    async def behave(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(OK)
        await asyncio.Event().wait()

    async with serve(behave, authority.server()) as server, ours.transport(ca_file=authority.ca_file) as over:
        error = await post_fails(over, server.url, bytes(64 * 1024 * 1024))
    assert failure_kind(error) == "protocol"


async def test_close_notify_before_the_answer(client: Client, authority: Authority) -> None:
    """An orderly end without an answer is no answer."""

    async def behave(connection: Connection) -> None:
        await connection.request()

    async with serve(behave, authority.server()) as server:
        error = await client.post_fails(server.url, ca_file=authority.ca_file)
    assert failure_kind(error) == "connect"


async def test_close_notify_after_the_answer(client: Client, authority: Authority) -> None:
    """An end of an idle connection costs the next request nothing."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(NO_CONTENT)

    async with serve(behave, authority.server()) as server, client.transport(ca_file=authority.ca_file) as over:
        for _ in range(3):
            assert await post(over, server.url) == 204
            await server.until(lambda server: server.open_connections == 0)
    assert server.connections == 3


async def test_a_body_that_ends_without_close_notify(client: Client, authority: Authority) -> None:
    """What was cut off by whoever sits between is broken, but its status stands."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nabc")
        connection.writer.transport.abort()

    async with serve(behave, authority.server()) as server, client.transport(ca_file=authority.ca_file) as over:
        response = await over.handle_async_request(request(server.url))
        with pytest.raises(httpx.TransportError):
            await response.aread()
        await response.aclose()
    assert response.status_code == 500


async def test_an_answer_before_the_request(ours: Client, authority: Authority) -> None:
    """What came with the end of the handshake is not the answer to what is sent after it."""
    tls = authority.server()
    tls.maximum_version = ssl.TLSVersion.TLSv1_2  # the server's word ends its handshake
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = asyncio.create_task(asyncio.to_thread(_answer_with_the_handshake, listener, tls))
        async with ours.transport(ca_file=authority.ca_file) as over:
            error = await post_fails(over, f"https://127.0.0.1:{listener.getsockname()[1]}/hook")
        await answering
    assert failure_kind(error) == "protocol"


def _answer_with_the_handshake(listener: socket.socket, tls: ssl.SSLContext) -> None:
    received, unsent = ssl.MemoryBIO(), ssl.MemoryBIO()
    encrypted = tls.wrap_bio(received, unsent, server_side=True)
    connection, _ = listener.accept()
    with connection:
        while True:
            try:
                encrypted.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(unsent.read())
                received.write(connection.recv(65536))
        encrypted.write(OK)
        connection.sendall(unsent.read())
        while connection.recv(65536):
            pass


@pytest.mark.parametrize("calm", [True, False], ids=["calm", "busy"])
async def test_an_answer_on_an_idle_connection(ours: Client, authority: Authority, calm: bool) -> None:  # noqa: FBT001
    """A second answer is not taken for that of the next request, which is cut off."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        if connection.number == 1:
            first.append(connection)
            await connection.send(OK)
            await connection.left()

    first: list[Connection] = []
    async with serve(behave, authority.server()) as server, ours.transport(ca_file=authority.ca_file) as over:
        assert await post(over, server.url) == 200
        await first[0].send(OK)
        if calm:
            await server.until(lambda server: server.open_connections == 0)
        error = await post_fails(over, server.url)
    assert failure_kind(error) == "connect"
    assert server.connections == 2


async def test_a_body_without_end_is_dropped(client: Client, authority: Authority) -> None:
    """Whoever stops reading lets go of the connection at once, however much is on its way."""
    async with (
        serve(sends_for_ever, authority.server()) as server,
        client.transport(ca_file=authority.ca_file) as over,
    ):
        status, received = await answer(over, server.url)
        await server.until(lambda server: server.open_connections == 0)
    assert (status, len(received)) == (200, 64 * 1024)
