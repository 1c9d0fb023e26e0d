"""What an answer of an endpoint means."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, Literal

LONGEST_HOLD: Final = 600.0

Result = Literal["success", "http_3xx", "http_4xx", "http_5xx", "timeout", "connect", "dns", "tls", "protocol", "other"]


class Kind(StrEnum):
    DELIVERED = "delivered"
    REJECTED = "rejected"
    TRANSIENT = "transient"
    UNTRIED = "untried"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one attempt. `hold`: seconds for which the endpoint wants to be left alone."""

    kind: Kind
    result: Result
    status: int | None = None
    hold: float | None = None


def verdict_of(status: int, reject_statuses: frozenset[int], retry_after: str | None) -> Verdict:
    """Judge a status by the table of the contract: only 2xx delivers, only `reject_statuses` reject."""
    if 200 <= status <= 299:  # noqa: PLR2004 - RFC 9110, 15.3
        return Verdict(Kind.DELIVERED, "success", status)
    if status in reject_statuses:
        return Verdict(Kind.REJECTED, _result(status), status)
    return Verdict(Kind.TRANSIENT, _result(status), status, hold_of(retry_after))


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
