"""What the value of a variable may look like."""

import base64
import json
import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from app.config.redis_url import place_of

SHORTEST_KEY: Final = 16
NEVER_IN_A_URL: Final = re.compile(r"[\x00-\x20\x7f#]")
REDIS_OPTION: Final = re.compile(r"db=[0-9]+")
REDISS_OPTION: Final = re.compile(r"db=[0-9]+|ssl_cert_reqs=(none|optional|required)|ssl_check_hostname=(true|false)")


def redacted(url: str) -> str:
    """Return the URL without user info and query, which may hold secrets; `***` where they cannot be told apart."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        _ = "," in host or parts.port
    except ValueError:
        return "***"
    # A password with a bare / ? or # ends the host too early, and its rest looks like a path.
    if "@" in parts.path + parts.query + parts.fragment or not (parts.netloc or parts.scheme == "unix"):
        return "***"
    return f"{parts.scheme}://{host}{parts.path}{'?***' if parts.query else ''}"


def readable(path: Path) -> Path:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"must be a readable file ({error.strerror})") from None
    return path


def is_url(url: SecretStr, *schemes: str) -> SecretStr:
    wanted = "must be a URL: " + ", ".join(f"{scheme}://…" for scheme in schemes)
    if NEVER_IN_A_URL.search(url.get_secret_value()):
        raise ValueError("must have no spaces, control characters or #: in a password they are written %20, %23")
    try:
        parts = urlsplit(url.get_secret_value())
        located = parts.port != 0 and (parts.path if parts.scheme == "unix" else parts.hostname)
    except ValueError:
        raise ValueError(wanted) from None
    if parts.scheme not in schemes or not located:
        raise ValueError(wanted)
    return url


def http_url(url: SecretStr) -> SecretStr:
    return is_url(url, "http", "https")


def url_of_redis(url: SecretStr) -> SecretStr:
    """Refuse what redis-py would take for something else: it ignores a bad path, and options go before our own."""
    one = SecretStr(place_of(url.get_secret_value()).url)
    parts = urlsplit(is_url(one, "redis", "rediss", "unix").get_secret_value())
    if parts.scheme != "unix" and not re.fullmatch("/?|/[0-9]+", parts.path):
        raise ValueError("must end in the number of the database, as in redis://localhost:6379/0")
    known = REDISS_OPTION if parts.scheme == "rediss" else REDIS_OPTION
    if not all(known.fullmatch(option) for option in parts.query.split("&") if option):
        raise ValueError("must have no options but db=<number>, and with rediss:// ssl_cert_reqs, ssl_check_hostname")
    return url


def words(text: object) -> object:
    return text.split() if isinstance(text, str) else text


def numbers(text: object) -> object:
    return [part.strip() for part in text.split(",")] if isinstance(text, str) else text


def json_object(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError('must be a JSON object, as in {"x-tenant": "acme"}') from None


def signing_key(secret: SecretStr) -> bytes:
    """Return the key of a Standard Webhooks secret: base64, with or without `whsec_` before it and `=` behind."""
    text = secret.get_secret_value().removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:  # binascii.Error is one
        key = b""
    if len(key) < SHORTEST_KEY:
        raise ValueError(
            f"must be base64 of at least {SHORTEST_KEY} bytes, as Standard Webhooks has it: whsec_…; "
            "several are separated by spaces"
        )
    return key


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
File = Annotated[Path, AfterValidator(readable)]
