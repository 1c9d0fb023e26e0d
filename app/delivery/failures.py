"""What a failure of the HTTP client is called, in httpx's words and in ours."""

import ssl
from typing import Final, Literal

import aiohttp
import httpx

FailureKind = Literal["timeout", "connect", "dns", "tls", "protocol", "other"]


class NameResolutionError(httpx.ConnectError):
    """The name of the endpoint, or of its proxy, has no address."""


class TLSError(httpx.ConnectError):
    """The two sides did not agree on a TLS connection; most often a certificate."""


class ConnectionLostError(httpx.ReadError):
    """The connection ended before the answer began, or, for a body, within it."""


def failure_kind(error: httpx.TransportError) -> FailureKind:
    """Reduce an error of a transport to the closed set that metrics and events use."""
    match error:
        case httpx.TimeoutException():
            return "timeout"
        case NameResolutionError():
            return "dns"
        case TLSError():
            return "tls"
        case httpx.NetworkError() | httpx.ProxyError():
            return "connect"
        case httpx.RemoteProtocolError():
            return "protocol"
        case _:
            return "other"


# uvloop says RuntimeError of a transport that closed under it, aiohttp of a closed session.
FOREIGN_ERRORS: Final = (aiohttp.ClientError, OSError, ValueError, RuntimeError)

# The first that matches counts: aiohttp's classes overlap, and most are an OSError as well.
TRANSLATIONS: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (TimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorDNSError, NameResolutionError),
    (aiohttp.ClientConnectorCertificateError, TLSError),
    (aiohttp.ClientSSLError, TLSError),
    (aiohttp.ClientProxyConnectionError, httpx.ProxyError),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ServerDisconnectedError, ConnectionLostError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (OSError, ConnectionLostError),
    (ValueError, httpx.LocalProtocolError),
)


def translated(error: Exception, request: httpx.Request) -> httpx.TransportError:
    """Say the same in httpx's words, without aiohttp's text, which may quote a URL or the answer."""
    return _httpx_class(error)(reason(error), request=request)


def _httpx_class(error: Exception) -> type[httpx.TransportError]:
    if isinstance(error.__cause__, ssl.SSLError) and not isinstance(error.__cause__, ssl.SSLEOFError):
        return TLSError  # TLS 1.3: the receiver refuses our certificate after the handshake
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        return httpx.RemoteProtocolError  # cut off within the status line or the headers
    return next((ours for theirs, ours in TRANSLATIONS if isinstance(error, theirs)), httpx.TransportError)


def reason(error: Exception) -> str:
    cause = getattr(error, "os_error", getattr(error, "certificate_error", error))
    text = getattr(cause, "verify_message", None) or getattr(cause, "reason", None)
    return str(text or getattr(cause, "strerror", None) or type(error).__name__)
