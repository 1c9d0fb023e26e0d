"""Judge the answer of an endpoint. What then becomes of the CDR is decided in `lane/decision.py`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cache
from typing import Final, Literal

import httpx

from app.delivery.failures import in_words

LONGEST_HOLD: Final = 600.0
HOLDING: Final = frozenset({429, 503})
"""The statuses whose Retry-After holds the endpoint; that of others concerns the CDR alone."""

GONE: Final = 410
ABOUT_THE_ENDPOINT: Final = frozenset({401, 403, 404, GONE, 429})
"""The 4xx that say nothing about the CDR: a credential, the URL, or too much at once."""

Result = Literal[
    "success", "http_3xx", "http_4xx", "http_5xx", "timeout", "connect", "dns", "tls", "protocol", "token", "other"
]


class Kind(StrEnum):
    """Says what an attempt means for the CDR."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    TRANSIENT = "transient"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Says what came of one attempt.

    `retry_after`: seconds for which the endpoint asks for time. `answer`: the first bytes of an answer that is not 2xx.
    `detail`: what failed where there was no answer; `advice`: what a person has to do, where the attempt knows it.
    """

    kind: Kind
    result: Result
    status: int | None = None
    retry_after: float | None = None
    answer: bytes = b""
    detail: str = ""
    advice: str = ""

    @property
    def hold(self) -> float:
        """Return the seconds for which nothing at all may be attempted; 0: what it says concerns this CDR alone."""
        return self.retry_after or 0.0 if self.status in HOLDING else 0.0

    @property
    def may_strike(self) -> bool:
        """Tell whether it may say something about this CDR: it failed, and the endpoint was asked."""
        return self.kind is not Kind.DELIVERED and self.result != "token"

    @property
    def is_about_the_cdr(self) -> bool:
        """Tell whether an endpoint that is there has answered something about this CDR."""
        status = self.status or 0
        return status == 500 or (400 <= status <= 499 and status not in ABOUT_THE_ENDPOINT)  # noqa: PLR2004 - RFC 9110, 15.5

    @property
    def words(self) -> str:
        """Return what failed, for a person."""
        return str(self.status) if self.status else in_words(self.result, self.detail)


def verdict_of(response: httpx.Response, reject_statuses: frozenset[int], answer: bytes = b"") -> Verdict:
    """Judge a status by the table of the contract: only 2xx delivers, only `reject_statuses` reject."""
    status = response.status_code
    if 200 <= status <= 299:  # noqa: PLR2004 - RFC 9110, 15.3
        return _delivered(status)
    if status in reject_statuses:
        return Verdict(Kind.REJECTED, _result(status), status, answer=answer)
    return Verdict(Kind.TRANSIENT, _result(status), status, hold_of(response.headers.get("retry-after")), answer)


@cache
def _delivered(status: int) -> Verdict:
    """Return the verdict of all that is accepted: it is the same for each, and made once."""
    return Verdict(Kind.DELIVERED, "success", status)


def _result(status: int) -> Result:
    families: dict[int, Result] = {3: "http_3xx", 4: "http_4xx", 5: "http_5xx"}
    return families.get(status // 100, "protocol")


def hold_of(retry_after: str | None) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3: seconds or a date) as seconds, 10 minutes at most; None: nothing said."""
    if retry_after is None:
        return None
    if retry_after.strip().isascii() and retry_after.strip().isdigit():
        return min(float(retry_after), LONGEST_HOLD)
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, TypeError, IndexError, OverflowError):  # email.utils raises them all
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(0.0, (until - datetime.now(UTC)).total_seconds()), LONGEST_HOLD)
