"""Check that an endpoint can be reached, and what it answers to a CDR."""

import asyncio
import os
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from app.cdr import Cdr
from app.cli.check.finding import Finding, fail, ok, warn
from app.cli.check.marked_cdr import marked_cdr
from app.cli.check.token_server import of_token_server
from app.config.endpoint import EndpointSettings
from app.config.source import DEFAULT_SOURCE
from app.config.values import redacted
from app.delivery.attempt import Attempt
from app.delivery.batch import message_of_one
from app.delivery.certificate import ends_soon
from app.delivery.failures import reason
from app.delivery.transport import tls_context
from app.delivery.verdict import Kind, Verdict
from app.errors import ConfigurationError

NEXT_ADDRESS_AFTER: Final = 0.25
"""Seconds until another address of the same name is tried beside the first, as in an attempt (RFC 8305)."""

LATE_REFUSAL: Final = 0.5
"""Seconds: with TLS 1.3, a server refuses our certificate, or that we have none, only after the handshake."""

A_DAY: Final = 86_400

CREDENTIALS: Final = (
    "check its secret or credentials: SECRET, BEARER_TOKEN, USERNAME, PASSWORD, HEADERS, OAUTH2_SCOPE, OAUTH2_AUDIENCE"
)
ADVICE: Final[dict[int | str, str]] = {
    401: CREDENTIALS,
    403: CREDENTIALS,
    404: "is the path of its URL right?",
    405: "is the path of its URL right? It must take a POST",
    410: "it says that it is gone for good: check its URL",
    429: "it asks for time: try again later, or set RATE_LIMIT",
    "http_3xx": "redirects are not followed: set the URL that it redirects to",
    "http_5xx": "the receiver fails: its own log says why",
    "timeout": "the receiver takes longer than TIMEOUT: it should store the CDR, answer, and work on it afterwards",
}
"""By status, or by result."""


async def of_endpoint(endpoint: EndpointSettings, *, send: bool, source: str = DEFAULT_SOURCE) -> list[Finding]:
    """Connect to it, or to its proxy, and get a token where it wants one.

    With `send`, also deliver one marked test CDR where all that goes well, as if it came from that source.
    """
    try:
        reached = await _reach(endpoint)
    except ConfigurationError as error:
        return [fail(str(error), "it must be PEM, and a key must be that of its certificate")]
    findings = [reached]
    if endpoint.oauth2_token_url:
        findings.append(await of_token_server(endpoint))
    if send and not any(one.level == "fail" for one in findings):
        findings.append(await _send(endpoint, source))
    return findings


@dataclass
class _Way:
    """Describes the first hop to an endpoint. `seen`: what is known about it once it has connected."""

    name: str
    seen: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    patience: float

    @classmethod
    def to(cls, endpoint: EndpointSettings) -> "_Way":
        """Return the way. Raises ConfigurationError where the files for TLS cannot be used."""
        url = (endpoint.proxy or endpoint.url).get_secret_value()
        parts, tls = urlsplit(url), tls_context(endpoint)
        encrypted = parts.scheme == "https"
        name, seen = "", ", with TLS" if encrypted else ""
        if endpoint.proxy:
            name, seen = "its proxy ", "; what is behind it is only seen by --send"
        return cls(
            f"endpoint {endpoint.name}: {name}{redacted(url)}",
            seen,
            parts.hostname or "",
            parts.port or (443 if encrypted else 80),
            tls if encrypted else None,
            endpoint.connect_timeout,
        )

    async def go(self) -> dict[str, Any]:
        """Connect and hang up; return the certificate that was verified, or nothing. Raises OSError."""
        deadline = asyncio.get_running_loop().time() + self.patience
        async with asyncio.timeout_at(deadline):
            reader, writer = await asyncio.open_connection(
                self.host, self.port, happy_eyeballs_delay=NEXT_ADDRESS_AFTER
            )
        try:
            if self.tls:
                async with asyncio.timeout_at(deadline):
                    await writer.start_tls(self.tls, server_hostname=self.host)
                await _listen(reader)
            return writer.get_extra_info("peercert") or {}
        except ConnectionError:
            raise ssl.SSLError(0, "it hung up") from None
        except TimeoutError:
            raise ssl.SSLError(0, f"no handshake within {self.patience:g} s (CONNECT_TIMEOUT)") from None
        finally:
            writer.transport.abort()


async def _listen(reader: asyncio.StreamReader) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LATE_REFUSAL):
            if not await reader.read(1):
                raise ConnectionResetError


async def _reach(endpoint: EndpointSettings) -> Finding:
    way = _Way.to(endpoint)
    try:
        certificate = await way.go()
    except TimeoutError:
        return fail(
            f"{way.name} did not connect within {way.patience:g} s (CONNECT_TIMEOUT)", "does a firewall drop it?"
        )
    except (socket.gaierror, UnicodeError) as error:
        return fail(f"{way.name}: no address is found for {way.host}: {reason(error)}", "is the name right? Ask DNS")
    except ssl.SSLCertVerificationError as error:
        return fail(f"{way.name}: its certificate is not accepted: {reason(error)}", "renew it, or set CA_FILE")
    except ssl.SSLError as error:
        return fail(f"{way.name}: no TLS with it: {reason(error)}", "is it https? Does it ask for our CERT_FILE?")
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        return fail(f"{way.name} cannot be connected to: {why}", "is it up, and the port right?")
    return _reached(way, certificate)


def _reached(way: _Way, certificate: dict[str, Any]) -> Finding:
    if "notAfter" not in certificate:
        return ok(f"{way.name} connects{way.seen}")
    end = ssl.cert_time_to_seconds(certificate["notAfter"])
    until, days = datetime.fromtimestamp(end, UTC), (end - time.time()) / A_DAY
    if ends_soon(until, datetime.now(UTC)):
        return warn(f"{way.name}: its certificate ends on {until:%Y-%m-%d}, in {days:.0f} days", "have it renewed")
    return ok(f"{way.name} connects{way.seen}; its certificate ends on {until:%Y-%m-%d}")


async def _send(endpoint: EndpointSettings, source: str) -> Finding:
    receiver, cdr = Attempt(endpoint), Cdr(marked_cdr())
    began = time.monotonic()
    try:
        verdict = await receiver.post(message_of_one(cdr, endpoint, source))
    finally:
        await receiver.aclose()
    return _judged(f"endpoint {endpoint.name}", verdict, time.monotonic() - began)


def _judged(name: str, verdict: Verdict, seconds: float) -> Finding:
    answer = f"{verdict.status or verdict.result}, after {1000 * seconds:.0f} ms"
    match verdict.kind:
        case Kind.DELIVERED:
            return ok(f"{name}: it took a test CDR: {answer}")
        case Kind.REJECTED:
            return warn(
                f"{name}: it rejects a test CDR: {answer}",
                "right where it takes no other type than cdr; real ones would become dead letters",
            )
    advice = (
        verdict.advice
        or ADVICE.get(verdict.status or "")
        or ADVICE.get(verdict.result, "check what is in front of the receiver")
    )
    return fail(f"{name}: it did not accept a test CDR: {answer}", advice)
