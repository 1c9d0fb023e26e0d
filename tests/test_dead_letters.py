"""What a dead letter looks like: others read them."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.cdr import Cdr
from app.dead_letters.letter import Reason, dead_letter
from app.lane.parking import FailingRecord

DIED: Final = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
FIRST_FAILED: Final = DIED - timedelta(days=3)
BODY: Final = b'{"type": "cdr", "payload": {"contact_ref": "Zo\xc3\xab"}}'


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.dead_letters.letter.now", lambda: DIED)


def letter_of(body: bytes, reason: Reason = "rejected", status: int | None = 400) -> dict[str, Any]:
    letter: dict[str, Any] = json.loads(dead_letter(Cdr(body, attempts=1), "crm", reason, status))
    return letter


def test_a_rejected_cdr_is_told_as_the_contract_says() -> None:
    """Every field, in its order, with times in ISO 8601 and UTC; it failed first when it died."""
    letter = letter_of(BODY)
    assert list(letter.items()) == [
        ("id", Cdr(BODY).webhook_id),
        ("endpoint", "crm"),
        ("reason", "rejected"),
        ("status", 400),
        ("attempts", 1),
        ("first_failed_at", "2024-05-06T07:08:09+00:00"),
        ("dead_at", "2024-05-06T07:08:09+00:00"),
        ("cdr", BODY.decode()),
    ]


def test_a_cdr_that_was_given_up_tells_since_when_it_failed() -> None:
    """`first_failed_at` and `attempts` go on from its failing record."""
    cdr = Cdr(BODY, failing=FailingRecord(FIRST_FAILED, 9, DIED), attempts=10)
    letter = json.loads(dead_letter(cdr, "crm", "gave_up", 503))
    assert (letter["reason"], letter["status"], letter["attempts"]) == ("gave_up", 503, 10)
    assert (letter["first_failed_at"], letter["dead_at"]) == ("2024-05-03T07:08:09+00:00", "2024-05-06T07:08:09+00:00")


def test_where_no_answer_came_there_is_no_status() -> None:
    """A timeout or a refused connection is null, not 0."""
    assert letter_of(BODY, "gave_up", None)["status"] is None


def test_text_stays_readable() -> None:
    """A person reads the name as it was said, not as escapes."""
    assert "Zoë".encode() in dead_letter(Cdr(BODY), "crm", "rejected", 400)


def test_what_is_not_utf_8_is_base64() -> None:
    """JSON cannot hold it otherwise; the field's name says which it is."""
    letter = letter_of(b"caf\xe9 \xff\x00")
    assert letter["cdr_base64"] == "Y2Fm6SD/AA=="
    assert "cdr" not in letter


def test_an_empty_cdr_is_empty_text() -> None:
    """Empty is a value, and not a missing one."""
    letter = letter_of(b"")
    assert letter["cdr"] == ""
    assert "cdr_base64" not in letter


@given(st.binary() | st.text().map(str.encode))
@example(b"\x00")
@example(b"\xed\xa0\x80")
@example(b'"\\\n')
def test_the_exact_bytes_can_be_had_back(body: bytes) -> None:
    """Replay sends what Enigma wrote, whatever it was; and a letter is one line."""
    letter = letter_of(body)
    stored = letter["cdr"].encode() if "cdr" in letter else base64.b64decode(letter["cdr_base64"])
    assert stored == body
    assert b"\n" not in dead_letter(Cdr(body), "crm", "rejected", 400)
