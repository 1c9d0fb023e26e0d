"""Through a proxy, which httpx's own transport knows how to do."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.config.endpoint import EndpointSettings
from app.delivery.failures import failure_kind
from app.delivery.transport import build_transport
from tests.network.transport.client import BODY, endpoint, post, post_fails
from tests.support.certificates import Authority
from tests.support.http_faults import (
    NO_CONTENT,
    Connection,
    answers,
    is_a_socks_proxy,
    is_an_http_proxy,
    refused,
    serve,
)


def proxy_at(port: int, user: str = "", scheme: str = "http") -> SecretStr:
    return SecretStr(f"{scheme}://{user}127.0.0.1:{port}")


def through(proxy: SecretStr, **overrides: object) -> httpx.AsyncBaseTransport:
    """Return a transport whose proxy is not validated here: PROXY is, by the settings."""
    settings: EndpointSettings = endpoint(**overrides).model_copy(update={"proxy": proxy})
    return build_transport(settings)


async def test_http_through_a_proxy() -> None:
    """A plain request goes to the proxy in absolute form, with the credentials of its URL."""
    async with serve(is_an_http_proxy) as proxy, through(proxy_at(proxy.port, "us%40er:pass@")) as over:
        assert await post(over, "http://crm.invalid/hook") == 204
    assert proxy.requests[0].startswith(b"POST http://crm.invalid/hook HTTP/1.1\r\n")
    assert b"proxy-authorization: basic dxnazxi6cgfzcw==\r\n" in proxy.requests[0].lower()
    assert proxy.requests[0].endswith(b"\r\n\r\n" + BODY)


async def test_https_through_a_proxy(tmp_path: Path) -> None:
    """An encrypted request goes through a tunnel, which is kept: the proxy sees neither it nor its headers."""
    authority = Authority(tmp_path)
    async with (
        serve(answers(NO_CONTENT), authority.server()) as server,
        serve(is_an_http_proxy) as proxy,
        through(proxy_at(proxy.port, "user:pass@"), ca_file=authority.ca_file) as over,
    ):
        assert [await post(over, server.url) for _ in range(3)] == [204] * 3
    assert len(proxy.requests) == 1
    assert proxy.requests[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % server.port)
    assert b"proxy-authorization: basic dxnlcjpwyxnz\r\n" in proxy.requests[0].lower()
    assert len(server.requests) == 3
    assert b"proxy-authorization" not in server.requests[0].lower()


async def test_through_a_proxy_that_speaks_tls(tmp_path: Path) -> None:
    """An https:// proxy is trusted as the endpoint is."""
    authority = Authority(tmp_path)
    async with (
        serve(is_an_http_proxy, authority.server()) as proxy,
        through(proxy_at(proxy.port, scheme="https"), ca_file=authority.ca_file) as over,
    ):
        assert await post(over, "http://crm.invalid/hook") == 204


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("user", ["", "user:pass@"], ids=["nobody", "user"])
async def test_through_socks(scheme: str, encrypted: bool, user: str, tmp_path: Path) -> None:  # noqa: FBT001
    """SOCKS5, with credentials where the URL has some; the proxy looks the name up."""
    authority = Authority(tmp_path)
    tls: ssl.SSLContext | None = authority.server("localhost") if encrypted else None
    async with (
        serve(answers(NO_CONTENT), tls) as server,
        serve(is_a_socks_proxy) as proxy,
        through(proxy_at(proxy.port, user, scheme), ca_file=authority.ca_file) as over,
    ):
        url = server.url.replace("127.0.0.1", "localhost")
        assert [await post(over, url) for _ in range(3)] == [204] * 3
    assert proxy.requests == [b"localhost:%d %b" % (server.port, user.rstrip("@").encode())]


async def test_a_proxy_that_refuses() -> None:
    """The error says proxy, and not its password."""
    async with (
        serve(answers(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")) as proxy,
        through(proxy_at(proxy.port, "user:s3cret@")) as over,
    ):
        error = await post_fails(over, "https://crm.invalid/hook")
    assert isinstance(error, httpx.ProxyError)
    assert failure_kind(error) == "connect"
    assert str(error) == "the proxy answered 407"


async def test_a_proxy_that_is_not_there() -> None:
    """A proxy that cannot be reached is told from an endpoint that cannot."""
    with refused() as url:
        for scheme in ("http", "socks5"):
            async with through(SecretStr(url.replace("http", scheme).removesuffix("/hook"))) as over:
                assert isinstance(await post_fails(over, "https://crm.invalid/hook"), httpx.ProxyError)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_hangs(scheme: str) -> None:
    """Waiting for the tunnel counts as connecting, and leaves no connection behind."""
    async with (
        serve(Connection.left) as proxy,
        through(proxy_at(proxy.port, scheme=scheme), connect_timeout=0.2) as over,
    ):
        assert isinstance(await post_fails(over, "https://crm.invalid/hook"), httpx.ConnectTimeout)
        await proxy.until(lambda proxy: proxy.open_connections == 0)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_deadline_while_a_proxy_hangs(scheme: str) -> None:
    """Nor does the caller's deadline leave one behind."""
    async with serve(Connection.left) as proxy, through(proxy_at(proxy.port, scheme=scheme)) as over:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await post(over, "https://crm.invalid/hook")
        await proxy.until(lambda proxy: proxy.open_connections == 0)


async def test_a_proxy_that_talks_nonsense() -> None:
    """Neither a broken CONNECT nor broken SOCKS is a foreign exception."""
    async with (
        serve(answers(b"\x00\x01\x02 nonsense\r\n\r\n")) as proxy,
        through(proxy_at(proxy.port)) as over,
    ):
        assert failure_kind(await post_fails(over, "https://crm.invalid/hook")) in {"connect", "protocol"}

    async def says_nonsense(connection: Connection) -> None:
        await connection.reader.read(3)
        await connection.send(b"HTTP/1.1 400 Bad\r\n\r\n")

    async with serve(says_nonsense) as proxy, through(proxy_at(proxy.port, scheme="socks5")) as over:
        assert failure_kind(await post_fails(over, "https://crm.invalid/hook")) in {"connect", "protocol"}
