"""Ask a process to try an endpoint that is down at once."""

import json
from http.client import HTTPException
from socket import gethostname
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from app.cli.healthcheck import EVERYWHERE
from app.cli.process_status import is_http
from app.cli.terminal import say
from app.config.settings import Settings
from app.config.values import redacted
from app.errors import CommandError
from app.ops.routes import OPERATOR_HOST

DEADLINE: Final = 35.0
"""Seconds. The server answers when the attempt has ended, or after half a minute."""

GOOD: Final = {"back", "not down"}

REFUSALS: Final = {
    401: "CDR_OPS_TOKEN: {url} has another one",
    403: "CDR_OPS_TOKEN: the process at {url} has none, so nobody may act there: set it, and start it again",
    429: "{url} has had too many wrong tokens: wait a moment",
}
SAYS_WHY: Final = {400, 503}


def probe(settings: Settings, endpoint: str, url: str | None) -> bool:
    """Print what came of it; return whether deliveries go on. `url`: None for the process on this host."""
    answer = _asked(url.rstrip("/") if url else _own_server(settings), endpoint, _token(settings))
    say(str(answer.get("words")))
    return answer.get("outcome") in GOOD


def _token(settings: Settings) -> str:
    if settings.ops_token is None:
        raise CommandError("CDR_OPS_TOKEN: not set here; it must be that of the process that is to try the endpoint")
    return settings.ops_token.get_secret_value()


def _own_server(settings: Settings) -> str:
    if not settings.ops_port:
        raise CommandError("CDR_OPS_PORT: 0, so the process on this host cannot be asked; --url names another one")
    host = EVERYWHERE.get(settings.ops_host, settings.ops_host)
    return f"http://{f'[{host}]' if host.count(':') > 1 and '[' not in host else host}:{settings.ops_port}"


def _asked(url: str, endpoint: str, token: str) -> dict[str, Any]:
    if not is_http(url):
        raise CommandError("--url: must be that of an operator server, as in http://host:8080")
    shown, path = redacted(url), f"{url}/api/endpoints/{quote(endpoint, safe='')}/probe"
    headers = {"authorization": f"Bearer {token}", OPERATOR_HOST: gethostname()}
    request = Request(path, method="POST", headers=headers)  # noqa: S310 - only HTTP
    try:
        # Proxies from the environment are not used: this is a host of ours.
        with build_opener(ProxyHandler({})).open(request, timeout=DEADLINE) as answer:
            return dict(json.load(answer))
    except HTTPError as error:
        raise CommandError(_refusal(error, shown)) from error
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or type(error).__name__
        raise CommandError(f"{shown} does not answer: {why}; is CDR_OPS_PORT reachable from here?") from error
    except (TypeError, ValueError) as error:
        raise CommandError(f"{shown} answers what is not JSON; is it an operator server?") from error


def _refusal(error: HTTPError, url: str) -> str:
    said = error.read(1024).decode(errors="replace").strip() if error.code in SAYS_WHY else ""
    return said or REFUSALS.get(error.code, "{url} answers {code}; is it an operator server?").format(
        url=url, code=error.code
    )
