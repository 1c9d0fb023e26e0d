"""Check the headers that somebody configures for an endpoint."""

import re
from string import Formatter
from typing import Final

from pydantic import SecretStr

from app.config.values import PRINTABLE

FIXED: Final = frozenset(
    {
        *("user-agent", "webhook-id", "webhook-timestamp", "webhook-attempt", "webhook-signature"),
        *("webhook-source", "webhook-count", "host", "connection", "content-length", "transfer-encoding", "expect"),
        *("keep-alive", "proxy-connection", "te", "trailer", "upgrade"),
    }
)
"""Nobody may configure these: they are ours, or about the connection and not about the CDR."""

PLACEHOLDERS: Final = ("webhook_id", "attempt", "timestamp", "source", "endpoint", "trace_id", "span_id")
"""What may stand in braces in a value; each attempt puts its own in their place."""

NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

TWICE: Final = "write a literal brace twice: {{ or }}"


def headers_to_send(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    """Return the headers. Raises ValueError, without quoting a value, where one cannot be sent."""
    for name, value in headers.items():
        if not NAME.fullmatch(name):
            raise ValueError("must have names that a header can have (RFC 9110, 5.6.2)")
        if name.lower() in FIXED:
            raise ValueError(f"cannot set {name.lower()}: this header is reserved")
        if not PRINTABLE.fullmatch(value.get_secret_value()):
            raise ValueError(f"the value of {name} cannot contain line breaks, control or non-ASCII characters")
        _check_braces(name, value.get_secret_value())
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("cannot name a header twice: upper and lower case are the same")
    return headers


def has_placeholders(value: str) -> bool:
    """Tell whether the value of a header differs from attempt to attempt."""
    return any(field is not None for _, field, _, _ in Formatter().parse(value))


def _check_braces(name: str, value: str) -> None:
    try:
        parts = list(Formatter().parse(value))
    except ValueError:
        raise ValueError(f"the value of {name} has a brace without its partner; {TWICE}") from None
    for _, field, options, conversion in parts:
        if field is not None and (field not in PLACEHOLDERS or options or conversion):
            known = ", ".join(f"{{{one}}}" for one in PLACEHOLDERS)
            raise ValueError(f"the value of {name} has an unknown placeholder: there are {known}; {TWICE}")
