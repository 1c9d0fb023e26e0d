"""Check the values of variables."""

import base64
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final, TypeVar
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from app.config.hosts import host_name
from app.config.redis_url import place_of

SHORTEST_KEY: Final = 16
EXAMPLE_KEY: Final = b"not this one, please"
"""The secret that stands in .env.example as an example: everybody knows it."""

DAY: Final = 86_400
LONGEST_URL: Final = 8192
RESERVED: Final = frozenset({"processing", "pending", "retry", "retrying", "dead", "minutes", "scratch", "webhook"})
"""Words of our keys, and the name of the endpoint of CDR_WEBHOOK_URL: no other endpoint can have them."""

RESERVED_FOR_SOURCES: Final = RESERVED | {"operations"}

NEVER_IN_A_URL: Final = re.compile(r"[\x00-\x20\x7f#]")
REDIS_OPTION: Final = re.compile(r"db=[0-9]+")
REDISS_OPTION: Final = re.compile(r"db=[0-9]+|ssl_cert_reqs=(none|optional|required)|ssl_check_hostname=(true|false)")
PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
LINE_BREAK: Final = re.compile(r"[\r\n\x00]")

Text = TypeVar("Text", str, SecretStr)


def redacted(url: str) -> str:
    """Return scheme, host and port of the URL; the rest may hold secrets. `***` where they cannot be told apart."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        _ = "," in host or parts.port
    except ValueError:
        return "***"
    # A password with a bare / ? or # ends the host too early, and its rest looks like a path.
    if "@" in parts.path + parts.query + parts.fragment or not (parts.netloc or parts.scheme == "unix"):
        return "***"
    if parts.scheme == "unix":  # the path of a socket takes the place of host and port
        return f"unix://{parts.path}{'?***' if parts.query else ''}"
    return f"{parts.scheme}://{host}{'/***' if parts.path.strip('/') or parts.query else parts.path}"


def readable(path: Path) -> Path:
    """Refuse anything but a regular file: reading a device or a pipe may never end."""
    try:
        if not path.is_file() and path.exists():
            raise ValueError("must be a regular file")
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"must be a readable file ({error.strerror})") from None
    return path


def is_url(url: SecretStr, *schemes: str) -> SecretStr:
    wanted = "must be a URL: " + ", ".join(f"{scheme}://…" for scheme in schemes)
    if len(url.get_secret_value()) > LONGEST_URL:
        raise ValueError(f"cannot be longer than {LONGEST_URL} characters")
    if NEVER_IN_A_URL.search(url.get_secret_value()):
        raise ValueError("cannot contain spaces, control characters or #: in a password, write them as %20, %23")
    try:
        parts = urlsplit(url.get_secret_value())
        located = parts.port != 0 and (parts.path if parts.scheme == "unix" else parts.hostname)
    except ValueError:
        raise ValueError(wanted) from None
    if parts.scheme not in schemes or not located:
        raise ValueError(wanted)
    if parts.scheme != "unix":
        host_name(parts.hostname or "")
    _in_utf8(parts)
    return one_line(url)


def _in_utf8(parts: SplitResult) -> None:
    """Refuse user info that is not UTF-8: it would become question marks, and look like a wrong password."""
    try:
        for part in parts.username, parts.password:
            unquote_to_bytes(part or "").decode()
    except UnicodeError:
        raise ValueError("must have its user info in UTF-8") from None


def http_url(url: SecretStr) -> SecretStr:
    return is_url(url, "http", "https")


def proxy_url(url: SecretStr) -> SecretStr:
    return is_url(url, "http", "https", "socks5", "socks5h")


def url_of_redis(url: SecretStr) -> SecretStr:
    """Refuse what redis-py misreads: it ignores a bad path, and options in the URL override ours."""
    place = place_of(url.get_secret_value())
    parts = urlsplit(is_url(SecretStr(place.url), "redis", "rediss", "unix").get_secret_value())
    for host, _ in place.seeds:
        host_name(host)
    if parts.scheme != "unix" and not re.fullmatch("/?|/[0-9]{1,9}", parts.path):
        raise ValueError("must end in the number of the database, as in redis://localhost:6379/0")
    known = REDISS_OPTION if parts.scheme == "rediss" else REDIS_OPTION
    if not all(known.fullmatch(option) for option in parts.query.split("&") if option):
        raise ValueError(
            "cannot have options other than db=<number>, and with rediss:// ssl_cert_reqs and ssl_check_hostname"
        )
    return url


def endpoint_name(name: str) -> str:
    """Return the name in lower case. Raises ValueError if its keys could be mistaken for others."""
    return _unreserved(name.lower(), RESERVED)


def source_name(name: str) -> str:
    """Return the name in lower case. Raises ValueError if its keys could be mistaken for others."""
    return _unreserved(name.lower(), RESERVED_FOR_SOURCES)


def _unreserved(name: str, reserved: Collection[str]) -> str:
    if name in reserved:
        raise ValueError(f"cannot be one of the reserved names {', '.join(sorted(reserved))}")
    if name.isdecimal() or not re.fullmatch("[a-z0-9_-]{1,32}", name):
        raise ValueError("must have 1 to 32 characters of a-z, 0-9, _ and -, and not digits only")
    return name


def words(text: object) -> object:
    return text.split() if isinstance(text, str) else text


def numbers(text: object) -> object:
    return [part.strip() for part in text.split(",")] if isinstance(text, str) else text


def json_object(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError('must be a JSON object, as in {"x-tenant": "acme"}') from None


def header_value(value: Text) -> Text:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not PRINTABLE.fullmatch(text):
        raise ValueError("cannot contain line breaks, control or non-ASCII characters: it is sent as a header")
    return value


def one_line(value: Text) -> Text:
    """Refuse text that cannot be encoded, or that has the line break of a file or an editor."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if LINE_BREAK.search(text):
        raise ValueError("cannot contain line breaks")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be UTF-8")
    return value


def signing_key(secret: SecretStr) -> bytes:
    """Return the key of a Standard Webhooks secret: base64, with or without `whsec_` before it and `=` behind."""
    text = secret.get_secret_value().removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:  # binascii.Error is one
        key = b""
    if len(key) < SHORTEST_KEY:
        raise ValueError(
            f"must be whsec_ and base64 of at least {SHORTEST_KEY} bytes (Standard Webhooks); "
            "separate several with spaces"
        )
    if key == EXAMPLE_KEY:
        raise ValueError("is the example of the documentation, which everybody knows: generate your own")
    return key


Seconds = Annotated[float, Field(gt=0, le=DAY, allow_inf_nan=False)]
"""A duration of at most a day."""

File = Annotated[Path, AfterValidator(readable)]
