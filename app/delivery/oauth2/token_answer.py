"""Read what a token server answers. Nothing of it is quoted but the error codes of the standards."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from app.delivery.failures import TokenError

KNOWN_CLIENT: Final = frozenset({"unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target"})
"""The errors (RFC 6749, 5.2; RFC 8707) of a server that has accepted id and secret."""

ERRORS: Final = KNOWN_CLIENT | {
    *("invalid_request", "invalid_client", "invalid_grant", "access_denied"),
    *("server_error", "temporarily_unavailable"),
}

LOGIN: Final = "check OAUTH2_CLIENT_ID and OAUTH2_CLIENT_SECRET"
URL: Final = "check OAUTH2_TOKEN_URL; redirects are not followed"
ASK: Final = "ask the people who run the token server"
ADVICE: Final[dict[str | int, str]] = {
    **dict.fromkeys(("invalid_client", "access_denied", "unauthorized_client", 401, 403), LOGIN),
    "invalid_scope": "check OAUTH2_SCOPE",
    "invalid_target": "check OAUTH2_AUDIENCE",
    **dict.fromkeys(("server_error", "temporarily_unavailable", 408, 425, 429), ""),
    **dict.fromkeys((404, 405, 410), URL),
}
"""By error code, or by status. Empty: it passes by itself."""

FAMILIES: Final = {3: URL, 4: ASK}

PRESENTABLE: Final = re.compile(r"[\x21-\x7e]+")
DIGITS: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")

USUAL_LIFETIME: Final = 300.0
"""Seconds, where the server does not say; an endpoint that disagrees answers 401."""

LONGEST_LIFETIME: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Grant:
    """Holds an access token, and for how many seconds it is good."""

    token: str = field(repr=False)
    lifetime: float


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """Holds an answer of a token server. `retry_after`: seconds for which it asks for time."""

    status: int
    body: bytes = field(repr=False)
    retry_after: float = 0.0

    @property
    def error(self) -> str:
        """Return its error code if it is one of the standards."""
        code = _object(self.body).get("error")
        return code if isinstance(code, str) and code in ERRORS else ""

    @property
    def refuses_login(self) -> bool:
        """Tell whether it may be that it wants id and secret in another place."""
        return self.status in {400, 401} and self.error not in KNOWN_CLIENT

    def grant(self) -> Grant:
        """Return the token. Raises TokenError with what is wrong, in our words."""
        if not 200 <= self.status <= 299:  # noqa: PLR2004 - RFC 9110, 15.3
            self._refuse()
        answer = _object(self.body)
        token = answer.get("access_token")
        if not answer:
            raise TokenError("its answer is not JSON with a token", URL)
        if not isinstance(token, str) or not token:
            raise TokenError("its answer has no access_token", URL)
        if not PRESENTABLE.fullmatch(token):
            raise TokenError("its access_token has characters that no header can hold", ASK)
        if not _is_bearer(answer.get("token_type")):
            raise TokenError("its token_type is not Bearer", ASK)
        return Grant(token, _lifetime(answer.get("expires_in")))

    def _refuse(self) -> NoReturn:
        code, status = self.error, self.status
        advice = ADVICE.get(code, ADVICE.get(status, FAMILIES.get(status // 100, "")))
        raise TokenError(f"{status} {code}".strip(), advice, self.retry_after)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_bearer(kind: object) -> bool:
    """Tell whether it is the type that we can show. Some servers leave it out."""
    return kind is None or (isinstance(kind, str) and kind.lower() == "bearer")


def _lifetime(value: object) -> float:
    """Return the seconds. Some servers write them as text."""
    if value is None:
        return USUAL_LIFETIME
    if isinstance(value, str) and DIGITS.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:  # NaN is not
        raise TokenError("its expires_in is no number of seconds above 0", ASK)
    return float(min(value, LONGEST_LIFETIME))
