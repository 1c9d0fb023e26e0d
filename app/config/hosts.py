"""Check the names of hosts."""

import re
from contextlib import suppress
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import idna

LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}$)(?!.*(^|\.)[0-9]+\.?$)({LABEL}\.)*{LABEL}\.?")
"""RFC 1123, with the underscores of Compose. A last label of digits is a broken IPv4 address."""


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def host_and_port(url: str) -> str:
    """Return where an HTTP URL leads."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def is_readable(url: str) -> bool:
    """Tell whether others on the network may read what is sent to an HTTP URL."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def host_name(host: str) -> str:
    """Refuse what can never be an address: `192.168.1.256`, `a..b`, characters that no DNS name has."""
    with suppress(ValueError):
        return str(ip_address(host)) and host
    try:
        in_ascii = host if host.isascii() else idna.encode(host.lower()).decode()
    except idna.IDNAError:
        in_ascii = ""
    if not HOST_NAME.fullmatch(in_ascii):
        raise ValueError("must name a host: an IP address or a DNS name")
    return host
