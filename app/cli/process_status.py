"""Ask one process for its status."""

import json
import time
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from rich.text import Text

from app.cli.terminal import say_json, show
from app.config.values import redacted
from app.errors import CommandError
from app.telemetry.printable import plain

DEADLINE: Final = 5.0
NUMBERS: Final = ("waiting", "delivered_today", "dead")


def process_status(url: str, *, as_json: bool, every: float | None) -> None:
    """Print what the operator server at `url` says, and again `every` so many seconds, or once.

    Raises CommandError where there is none.
    """
    while True:
        found = asked(f"{url.rstrip('/')}/api/status")
        if as_json:
            say_json(found, indent=None if every else 2)
        else:
            show(*_lines(found, url))
        if every is None:
            return
        time.sleep(every)


def _lines(found: Any, url: str) -> list[Text]:
    """Say it as the page does: what is wrong first, then each endpoint."""
    try:
        lines = [found["short"] + ".", *(trouble["words"] for trouble in found["troubles"])]
        several = len(found["sources"]) > 1
        for lane in found["lanes"]:
            numbers = ", ".join(f"{name.replace('_', ' ')} {lane[name]}" for name in NUMBERS)
            name = f"{lane['endpoint']}, from {lane['source']}" if several else lane["endpoint"]
            lines.append(f"{name}: {lane['words']}. {numbers}.")
    except (KeyError, TypeError) as error:
        raise CommandError(f"{redacted(url)} answers what is not a status; is it an operator server?") from error
    return [Text(plain(line)) for line in lines]


def asked(url: str) -> Any:
    if not is_http(url):
        raise CommandError("--url: must be that of an operator server, as in http://host:8080")
    try:
        # Proxies from the environment are not used: this is a host of ours.
        with build_opener(ProxyHandler({})).open(url, timeout=DEADLINE) as answer:
            return json.load(answer)
    except HTTPError as error:
        raise CommandError(f"{redacted(url)} answers {error.code}; is it an operator server?") from error
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or type(error).__name__
        raise CommandError(f"{redacted(url)} does not answer: {why}; is CDR_OPS_PORT reachable from here?") from error
    except ValueError as error:
        raise CommandError(f"{redacted(url)} answers what is not JSON; is it an operator server?") from error


def is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
