"""Every failure has one name."""

import socket
import ssl

import httpx
import pytest

from app.delivery.failures import (
    ConnectionLostError,
    NameResolutionError,
    TLSError,
    dial_failure,
    failure_kind,
    in_our_words,
    loss,
    reason,
)


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


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (TimeoutError(), httpx.ConnectTimeout),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), NameResolutionError),
        (ssl.SSLCertVerificationError(1, "bad"), TLSError),
        (ssl.SSLEOFError(8, "eof"), httpx.ConnectError),
        (ConnectionRefusedError(111, "refused"), httpx.ConnectError),
        (RuntimeError("closed"), httpx.ConnectError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_failure_to_connect_has_its_name(error: Exception, named: type[httpx.TransportError]) -> None:
    """Whether it is DNS, TLS, time or the network, and nothing else of it, is told."""
    assert type(dial_failure(error)) is named


def test_a_lost_connection_has_a_reason() -> None:
    """TLS 1.3 refuses a client certificate after the handshake; everything else is a loss."""
    assert type(loss(None)) is ConnectionLostError
    assert type(loss(ConnectionResetError(104, "reset"))) is ConnectionLostError
    assert type(loss(ssl.SSLEOFError(8, "eof"))) is ConnectionLostError
    assert type(loss(ssl.SSLError(1, "alert"))) is TLSError


def test_what_httpx_says_is_not_quoted() -> None:
    """It may hold a part of an answer."""
    secret = httpx.RemoteProtocolError("illegal status line: b'0825550142'")
    assert "0825550142" not in str(in_our_words(secret, is_proxied=False))
    assert "0825550142" not in str(in_our_words(httpx.LocalProtocolError("0825550142"), is_proxied=True))


def test_a_reason_is_in_the_words_of_the_system() -> None:
    """The usual word where there is one, or the name of the error where nothing is said."""
    assert reason(ConnectionRefusedError(111, "Connection refused")) == "refused"
    assert reason(OSError(113, "No route to host")) == "No route to host"
    assert reason(RuntimeError("a secret")) == "RuntimeError"
