"""Hold the headers of every answer of the operator server, including refusals of broken requests."""

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"server", b"cdr-forwarder"),
    (b"x-content-type-options", b"nosniff"),
]


def dated() -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer that is sent now."""
    return [(b"date", formatdate(usegmt=True).encode()), *HEADERS]


def refusal(status: HTTPStatus) -> bytes:
    """Return the whole answer to a broken request."""
    text = f"{status.phrase}\n".encode()
    fields = [
        *dated(),
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(text)),
        (b"connection", b"close"),
    ]
    lines = [b"%b: %b\r\n" % field for field in fields]
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, status.phrase.encode(), b"".join(lines), text)
