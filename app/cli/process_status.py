"""Ask one process for its status."""

import json
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from app.cli.terminal import say_json
from app.config.values import redacted
from app.errors import CommandError

DEADLINE: Final = 5.0


def process_status(url: str) -> None:
    """Print /api/status of the operator server at `url`. Raises CommandError where there is none."""
    say_json(asked(f"{url.rstrip('/')}/api/status"), indent=2)


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
