"""What `cdr-forwarder check` finds of endpoints, on real sockets: connect, TLS, certificates, and a test CDR."""

import asyncio
import base64
import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from app.cdr import webhook_id
from app.cli.check.endpoints import of_endpoint
from app.cli.check.finding import Finding
from app.cli.check.marked_cdr import marked_cdr
from app.config.endpoint import EndpointSettings
from app.config.values import redacted
from tests.support.certificates import Authority, self_signed
from tests.support.http_faults import (
    NO_CONTENT,
    Connection,
    Server,
    answers,
    answers_then_hangs,
    is_an_http_proxy,
    never_accepts,
    refused,
    serve,
)
from tests.support.receiver import Receiver
from tests.support.token_server import CLIENT, SECRET, TokenEndpoint, guarded, token_endpoint

KEY = base64.b64encode(bytes(24)).decode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def endpoint(url: str, **overrides: Any) -> EndpointSettings:
    return EndpointSettings(name="crm", url=SecretStr(url), **overrides)


async def reached(url: str, **overrides: Any) -> Finding:
    [found] = await of_endpoint(endpoint(url, **overrides), send=False)
    return found


async def sent(url: str, **overrides: Any) -> Finding:
    connected, found = await of_endpoint(endpoint(url, **overrides), send=True)
    assert connected.level in {"ok", "warn"}
    return found


@asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve what accepts, and is sent nothing."""
    async with serve(Connection.left, tls) as server:
        yield server
        assert server.requests == []


def in_days(days: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=days)


# --- without TLS


async def test_an_endpoint_that_accepts_is_well() -> None:
    """And is sent nothing."""
    async with listening() as server:
        found = await reached(server.url)
    assert found == Finding("ok", f"endpoint crm: {redacted(server.url)} connects")


async def test_nobody_listens() -> None:
    with refused() as url:
        found = await reached(url)
    assert (found.level, found.what) == (
        "fail",
        f"endpoint crm: {redacted(url)} cannot be connected to: Connection refused",
    )


async def test_a_name_with_several_addresses_of_which_none_listens() -> None:
    """The reason is a sentence there too."""
    with refused() as url:
        found = await reached(url.replace("127.0.0.1", "localhost"))
    assert found.level == "fail"
    assert "cannot be connected to: " in found.what
    assert not found.what.endswith("Error")


async def test_a_name_without_an_address() -> None:
    found = await reached("http://nobody.invalid/hook")
    assert found.level == "fail"
    assert "no address is found for nobody.invalid: " in found.what


async def test_a_host_that_does_not_answer() -> None:
    """As long as an attempt would wait, and no longer."""
    with never_accepts() as url:
        found = await reached(url, connect_timeout=0.2)
    assert found.level == "fail"
    assert "did not connect within 0.2 s" in found.what


# --- TLS


async def test_a_certificate_that_is_good_for_long_is_well(authority: Authority) -> None:
    """The end is told."""
    end = in_days(60)
    async with listening(authority.server(ends=end)) as server:
        found = await reached(server.url, ca_file=authority.ca_file)
    assert found.level == "ok"
    assert f"its certificate ends on {end:%Y-%m-%d}" in found.what


async def test_a_certificate_that_ends_soon(authority: Authority) -> None:
    """It is renewed before, and not after."""
    end = in_days(20.5)
    async with listening(authority.server(ends=end)) as server:
        found = await reached(server.url, ca_file=authority.ca_file)
    assert found.level == "warn"
    assert f"its certificate ends on {end:%Y-%m-%d}, in 20 days" in found.what


async def refusal(context: ssl.SSLContext, **overrides: Any) -> str:
    async with listening(context) as server:
        found = await reached(server.url, **overrides)
    assert found.level == "fail"
    assert found.advice
    return found.what


async def test_a_certificate_that_has_ended(authority: Authority) -> None:
    said = await refusal(authority.server(ends=in_days(-1)), ca_file=authority.ca_file)
    assert "its certificate is not accepted: certificate has expired" in said


async def test_a_certificate_for_another_name(authority: Authority) -> None:
    said = await refusal(authority.server("elsewhere.example"), ca_file=authority.ca_file)
    assert "its certificate is not accepted: IP address mismatch" in said


async def test_a_certificate_of_an_unknown_authority(authority: Authority) -> None:
    said = await refusal(authority.server())
    assert "its certificate is not accepted: unable to get local issuer certificate" in said


async def test_a_certificate_that_is_not_verified(tmp_path: Path) -> None:
    """It connects; that nothing is verified is said of the settings."""
    context, _ = self_signed(tmp_path)
    async with listening(context) as server:
        found = await reached(server.url, tls_verify=False)
    assert found == Finding("ok", f"endpoint crm: {redacted(server.url)} connects, with TLS")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_client_certificate_where_one_is_asked_for(authority: Authority, version: ssl.TLSVersion) -> None:
    """Also where the refusal comes after the handshake."""
    context = authority.server(asks_for_a_certificate=True)
    context.minimum_version = context.maximum_version = version
    assert "no TLS with it: " in await refusal(context, ca_file=authority.ca_file)


async def test_a_client_certificate(authority: Authority) -> None:
    certificate, key = authority.client_files()
    async with listening(authority.server(asks_for_a_certificate=True)) as server:
        found = await reached(server.url, ca_file=authority.ca_file, cert_file=certificate, key_file=key)
    assert found.level == "ok"


async def test_https_where_http_is_spoken() -> None:
    async with serve(answers_then_hangs(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        found = await reached(server.url.replace("http:", "https:"))
    assert found.level == "fail"


async def test_a_server_that_hangs_in_the_handshake() -> None:
    """The handshake counts as connecting."""
    async with serve(Connection.left) as server:
        found = await reached(server.url.replace("http:", "https:"), connect_timeout=0.2)
    assert found.level == "fail"
    assert "no TLS with it: no handshake within 0.2 s" in found.what


async def test_a_file_for_tls_that_is_none(tmp_path: Path) -> None:
    """Nothing is connected to: `run` would not start."""
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("nonsense")
    found = await reached("https://127.0.0.1:1/", ca_file=nonsense)
    assert found.level == "fail"
    assert "CA_FILE, CERT_FILE or KEY_FILE cannot be used" in found.what


# --- a proxy


async def test_of_a_proxy_only_the_proxy_is_connected_to() -> None:
    """And that is said; its credentials are not."""
    async with listening() as proxy:
        url = f"http://user:pass@127.0.0.1:{proxy.port}"
        found = await reached("https://nobody.invalid/hook", proxy=SecretStr(url))
    assert found == Finding(
        "ok",
        f"endpoint crm: its proxy http://127.0.0.1:{proxy.port} connects; what is behind it is only seen by --send",
    )


async def test_a_proxy_that_is_not_there() -> None:
    with refused() as url:
        found = await reached("https://nobody.invalid/hook", proxy=SecretStr(url))
    assert found.level == "fail"
    assert "its proxy http://127.0.0.1" in found.what


async def test_a_cdr_is_sent_through_a_proxy(authority: Authority) -> None:
    async with (
        serve(answers(NO_CONTENT), authority.server()) as server,
        serve(is_an_http_proxy) as proxy,
    ):
        found = await sent(
            server.url, ca_file=authority.ca_file, proxy=SecretStr(f"http://user:pass@127.0.0.1:{proxy.port}")
        )
    assert found.level == "ok"
    assert server.requests[0].startswith(b"POST /hook ")


# --- a test CDR


async def test_a_test_cdr_arrives_as_any_other() -> None:
    """One attempt, signed, with the configured headers, and marked for what it is."""
    async with serve(answers(NO_CONTENT)) as server:
        found = await sent(server.url, secret=f"whsec_{KEY}", headers='{"x-tenant": "acme"}')
    assert found.level == "ok"
    assert "it took a test CDR: 204, after " in found.what
    [request] = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:])
    signed = {name: value for name, value in headers.items() if name != "webhook-signature"}
    signed["webhook-signature"] = head.decode().split("webhook-signature: ")[1].partition("\r\n")[0]
    assert Webhook(KEY).verify(body, signed)["type"] == "test"
    assert (headers["webhook-id"], headers["webhook-attempt"]) == (webhook_id(body), "1")
    assert headers["x-tenant"] == "acme"


def test_no_two_test_cdrs_are_the_same() -> None:
    """A receiver that knows the one takes the other for new; each has the documented shape."""
    assert marked_cdr() != marked_cdr()
    cdr = json.loads(marked_cdr())
    documented = (
        *("extension", "number", "dial_number", "call_ref", "contact_ref", "dialed_at", "end_reason"),
        *("end_code", "call_time", "hold_time", "call_dir", "recording_url", "ref"),
    )
    assert cdr["type"] == "test"
    assert tuple(cdr["payload"]) == documented


@pytest.mark.parametrize(
    ("status", "level", "advice"),
    [
        (200, "ok", ""),
        (422, "warn", "right where it takes no other type"),
        (401, "fail", "check its secret or credentials"),
        (403, "fail", "check its secret or credentials"),
        (404, "fail", "is the path of its URL right?"),
        (405, "fail", "It must take a POST"),
        (410, "fail", "it says that it is gone for good"),
        (429, "fail", "it asks for time"),
        (302, "fail", "redirects are not followed"),
        (503, "fail", "its own log says why"),
        (418, "fail", "check what is in front of the receiver"),
    ],
)
async def test_what_it_answers_is_told_with_what_to_do(
    status: int, level: str, advice: str, receiver: Receiver
) -> None:
    """By the same table that decides for a CDR."""
    receiver.status = status
    found = await sent(receiver.url)
    assert found.level == level
    assert f"{status}, after " in found.what
    assert found.advice.startswith(advice) or advice in found.advice


async def test_an_endpoint_that_takes_too_long(receiver: Receiver) -> None:
    receiver.gate.clear()
    found = await sent(receiver.url, timeout=0.2)
    receiver.gate.set()
    assert found.level == "fail"
    assert "timeout, after " in found.what


async def test_nothing_is_sent_where_it_cannot_be_connected_to() -> None:
    """One line says why, and not two."""
    with refused() as url:
        [found] = await of_endpoint(endpoint(url), send=True)
    assert found.level == "fail"


@pytest.mark.parametrize("behaviour", [Connection.left, answers_then_hangs(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")])
async def test_what_is_not_http_is_told(behaviour: Callable[[Connection], Awaitable[None]]) -> None:
    """A timeout, or an answer that cannot be read: never an exception."""
    async with serve(behaviour) as server, asyncio.timeout(20):
        found = await sent(server.url, timeout=0.5)
    assert found.level == "fail"


# --- OAuth 2.0


def with_tokens(url: str, tokens: TokenEndpoint) -> EndpointSettings:
    return endpoint(
        url,
        oauth2_token_url=SecretStr(tokens.url),
        oauth2_client_id=CLIENT,
        oauth2_client_secret=SecretStr(SECRET),
    )


async def test_a_token_server_that_gives_a_token_is_well() -> None:
    """A test CDR is then sent with one."""
    async with token_endpoint() as tokens, guarded("token-2") as receiver:
        reached, token, taken = await of_endpoint(with_tokens(receiver.url, tokens), send=True)
    assert (reached.level, taken.level) == ("ok", "ok")
    place = tokens.url.split("/")[2]
    assert token == Finding("ok", f"endpoint crm: token server {place} gives an access token for 3600 s")


async def test_a_token_server_that_refuses_us() -> None:
    """It is told with what to do, and nothing is sent to the endpoint."""
    async with token_endpoint(secret="another") as tokens, guarded() as receiver:
        _, token = await of_endpoint(with_tokens(receiver.url, tokens), send=True)
    assert (token.level, token.advice) == ("fail", "check OAUTH2_CLIENT_ID and OAUTH2_CLIENT_SECRET")
    assert token.what == f"endpoint crm: no access token: token server {tokens.url.split('/')[2]}: 401 invalid_client"
    assert receiver.tokens == []
