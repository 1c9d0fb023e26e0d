"""Name the failures of an attempt, in httpx's words and in ours."""

import socket
import ssl
from collections.abc import Iterator
from typing import Final, Literal

import httpx

FailureKind = Literal["timeout", "connect", "dns", "tls", "protocol", "token", "other"]

FOREIGN_ERRORS: Final = (OSError, RuntimeError)
"""What event loops raise of a connection. uvloop raises RuntimeError where a transport closed under it."""


HUNG_UP: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""Said by OpenSSL, in one of its versions or another, where the other side just closes: that is no fault of TLS."""

WORDS: Final[dict[type[Exception], str]] = {ConnectionRefusedError: "refused", ConnectionResetError: "reset"}
"""The usual word, where the system says more than anybody needs."""


class NameResolutionError(httpx.ConnectError):
    """Raised when the name of the endpoint, or of its proxy, has no address."""


class TLSError(httpx.ConnectError):
    """Raised when the two sides did not agree on a TLS connection; most often a certificate."""


class ConnectionLostError(httpx.ReadError):
    """Raised when the connection ended before the answer began, or, for a body, within it."""


class TokenError(httpx.TransportError):
    """Raised when no access token could be had, so the endpoint was not asked.

    `advice`: what a person has to do; empty: it passes by itself. `retry_after`: seconds that the server asks for.
    """

    def __init__(self, said: str, advice: str = "", retry_after: float = 0.0) -> None:
        super().__init__(said)
        self.advice, self.retry_after = advice, retry_after

    def of(self, place: str) -> "TokenError":
        """Return it with the server's host and port."""
        return TokenError(f"token server {place}: {self}", self.advice, self.retry_after)

    def again(self) -> "TokenError":
        """Return another one that says the same: each that is raised has its own traceback."""
        return TokenError(str(self), self.advice, self.retry_after)


KINDS: Final[tuple[tuple[type[httpx.TransportError], FailureKind], ...]] = (
    (httpx.TimeoutException, "timeout"),
    (TokenError, "token"),
    (NameResolutionError, "dns"),
    (TLSError, "tls"),
    (httpx.NetworkError, "connect"),
    (httpx.ProxyError, "connect"),
    (httpx.RemoteProtocolError, "protocol"),
)
"""The first one that fits counts."""


def failure_kind(error: httpx.TransportError) -> FailureKind:
    """Reduce an error of a transport to the closed set that metrics and events use."""
    return next((kind for one, kind in KINDS if isinstance(error, one)), "other")


def in_words(kind: str, said: str) -> str:
    """Return what failed where there was no answer, for a person."""
    # What a connection met says it all: refused, reset. A look-up or a timeout has to be named.
    named = said if kind in {"connect", "protocol", "token"} else f"{kind}: {said}"
    return named if said else kind


def dial_failure(error: Exception) -> httpx.TransportError:
    """Name an error of look-up, connect or handshake. Its text quotes neither a URL nor what was received."""
    match error:
        case TimeoutError():
            return httpx.ConnectTimeout("not connected in time")
        case socket.gaierror():
            return NameResolutionError(reason(error))
        case ssl.SSLError() if not isinstance(error, HUNG_UP):
            return TLSError(reason(error))
        case _:
            return httpx.ConnectError(reason(error))


def loss(error: Exception | None) -> httpx.TransportError:
    """Name what ended a connection; None: the other side closed it."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, HUNG_UP):
        return TLSError(reason(error))  # TLS 1.3: the receiver refuses our certificate after the handshake
    return ConnectionLostError(reason(error) if error else "closed by the other side")


def token_timeout(place: str) -> TokenError:
    return TokenError("timeout").of(place)


def cut_off() -> httpx.RemoteProtocolError:
    """Say that what came is no answer, and quote nothing of it."""
    return httpx.RemoteProtocolError("the answer is cut off, or not HTTP/1.x")


def in_our_words(error: httpx.TransportError, *, is_proxied: bool) -> httpx.TransportError:
    """Turn an error of httpx's own transport into the one that ours raises at the same fault."""
    foreign = next((cause for cause in _causes(error) if isinstance(cause, OSError)), None)
    match error:
        case httpx.ConnectError() | httpx.ProxyError() if is_proxied and not isinstance(foreign, ssl.SSLError):
            return httpx.ProxyError(_proxy_text(error, foreign))
        case httpx.ConnectError():
            return dial_failure(foreign or ConnectionError())
        case httpx.NetworkError():
            return loss(foreign)
        case httpx.RemoteProtocolError() if "without sending a response" in str(error):
            return loss(None)
        case httpx.RemoteProtocolError():
            return cut_off()
    return type(error)(type(error).__name__)


def _proxy_text(error: httpx.TransportError, foreign: OSError | None) -> str:
    status = str(error)[:3]
    return f"the proxy answered {status}" if status.isdigit() else reason(foreign or error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def reason(error: Exception) -> str:
    """Say what happened in the words of the system or of TLS, which quote no secret."""
    for kind, word in WORDS.items():
        if isinstance(error, kind):
            return word
    text = getattr(error, "verify_message", None) or getattr(error, "reason", None)
    return str(text or getattr(error, "strerror", None) or type(error).__name__)
