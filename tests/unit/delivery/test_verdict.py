"""What each answer of an endpoint means, by the table of the contract."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.config.endpoint import EndpointSettings
from app.delivery.verdict import LONGEST_HOLD, Kind, Result, Verdict, hold_of, verdict_of

REJECTS: Final = EndpointSettings(url="http://127.0.0.1/").reject_statuses  # type: ignore[arg-type]

TABLE: Final[dict[Iterable[int], tuple[Kind, Result]]] = {
    range(100, 200): (Kind.TRANSIENT, "protocol"),
    range(200, 300): (Kind.DELIVERED, "success"),
    range(300, 400): (Kind.TRANSIENT, "http_3xx"),
    (400,): (Kind.REJECTED, "http_4xx"),
    range(401, 413): (Kind.TRANSIENT, "http_4xx"),
    (413,): (Kind.REJECTED, "http_4xx"),
    (414,): (Kind.TRANSIENT, "http_4xx"),
    (415,): (Kind.REJECTED, "http_4xx"),
    range(416, 422): (Kind.TRANSIENT, "http_4xx"),
    (422,): (Kind.REJECTED, "http_4xx"),
    range(423, 500): (Kind.TRANSIENT, "http_4xx"),
    range(500, 600): (Kind.TRANSIENT, "http_5xx"),
}


def test_every_status_has_its_verdict() -> None:
    """Only 2xx delivers, only what can never be taken is rejected, and all else is tried again."""
    expected = {status: Verdict(*verdict, status) for statuses, verdict in TABLE.items() for status in statuses}
    found = {status: verdict_of(httpx.Response(status), REJECTS) for status in range(100, 600)}
    assert found == expected


def test_reject_statuses_are_those_of_the_endpoint() -> None:
    """REJECT_STATUSES replaces the usual ones: nothing else is dead-lettered for its status."""
    kinds = {status: verdict_of(httpx.Response(status), frozenset({404})).kind for status in (400, 404)}
    assert kinds == {400: Kind.TRANSIENT, 404: Kind.REJECTED}


@pytest.mark.parametrize("status", [301, 401, 404, 408, 425, 429, 500, 503])
def test_any_transient_answer_may_ask_to_be_left_alone(status: int) -> None:
    """Retry-After is heard wherever the CDR is to be tried again."""
    assert verdict_of(httpx.Response(status, headers={"retry-after": "7"}), REJECTS).retry_after == 7


@pytest.mark.parametrize("status", [204, 400])
def test_what_is_final_holds_nothing(status: int) -> None:
    """Retry-After of an answer after which this CDR is not sent again means nothing."""
    assert verdict_of(httpx.Response(status, headers={"retry-after": "7"}), REJECTS).retry_after is None


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        (" 30 ", 30),
        ("600", 600),
        ("601", LONGEST_HOLD),
        ("9" * 5000, LONGEST_HOLD),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0),
        ("Sun Nov  6 08:49:37 1994", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_HOLD),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(retry_after: str, seconds: float) -> None:
    """RFC 9110, 10.2.3, with its three forms of a date; past dates are over, and 10 minutes are the most."""
    assert hold_of(retry_after) == seconds


def test_a_date_holds_until_then() -> None:
    """A date is counted from now."""
    until = datetime.now(UTC) + timedelta(seconds=100)
    assert hold_of(format_datetime(until, usegmt=True)) == pytest.approx(100, abs=3)


@pytest.mark.parametrize(
    "garbage",
    [
        *(None, "", " ", "soon", "-5", "+5", "1.5", "1e3", "0x10", "1_0", "٣", "²", "\x00", ",", "120, 60"),
        *("Mon, 01 Jan 99999 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +9999"),
    ],
)
def test_garbage_in_retry_after_is_nothing_said(garbage: str | None) -> None:
    """What is neither seconds nor a date is tried again as if the header had not been there."""
    assert hold_of(garbage) is None


DATE_LIKE: Final = st.lists(
    st.sampled_from(["Mon,", "01", "Jan", "2024", "00:00:00", "24:61:61", "GMT", "+", "-", ",", "(", '"', ".", ":"])
    | st.integers().map(str),
    max_size=8,
).map(" ".join)


@given(st.text() | DATE_LIKE)
@example("Mon, 01 Jan 2024 00:00:00 +99999999999999999")
@example("99999999999999999999 Jan 2024 00:00:00 GMT")
def test_no_retry_after_is_an_error(anything: str) -> None:
    """An endpoint cannot bring the service down with a header."""
    hold = hold_of(anything)
    assert hold is None or 0 <= hold <= LONGEST_HOLD
