"""What a dead letter looks like: others read them."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import example, given
from hypothesis import strategies as st

from app.cdr import Cdr, History
from app.dead_letters.letter import Reason
from tests.support.letters import raw_letter

FIRST_FAILED: Final = datetime(2024, 5, 3, 7, 8, 9, 125_000, tzinfo=UTC)
BODY: Final = b'{"type": "cdr", "payload": {"contact_ref": "Zo\xc3\xab"}}'


def letter_of(body: bytes, reason: Reason = "rejected", status: int | None = 400, **more: Any) -> dict[str, Any]:
    letter: dict[str, Any] = json.loads(raw_letter(body, reason, status, **more))
    return letter


def test_a_rejected_cdr_is_told_as_the_contract_says() -> None:
    """Every field, in its order, with times in ISO 8601 and UTC; what has no history failed first when it died."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    letter = letter_of(BODY)
    died, first = (datetime.fromisoformat(letter.pop(name)) for name in ("dead_at", "first_failed_at"))
    assert before <= first == died <= datetime.now(UTC)
    assert died.utcoffset() == timedelta(0)
    assert len(letter.pop("letter")) == 32
    assert list(letter.items()) == [
        ("id", Cdr(BODY).webhook_id),
        ("endpoint", "crm"),
        ("source", "cdr"),
        ("reason", "rejected"),
        ("status", 400),
        ("answer", "no such account"),
        ("attempts", 1),
        ("cdr", BODY.decode()),
    ]


def test_a_cdr_that_was_given_up_tells_since_when_it_failed() -> None:
    """`first_failed_at` and `attempts` are those of its history, which the retry set kept."""
    history = History(attempts=10, strikes=9, first_failed_at=int(FIRST_FAILED.timestamp() * 1000))
    letter = letter_of(BODY, "gave_up", 503, history=history)
    assert (letter["reason"], letter["status"], letter["attempts"]) == ("gave_up", 503, 10)
    assert letter["first_failed_at"] == "2024-05-03T07:08:09.125+00:00"


def test_where_no_answer_came_there_is_no_status() -> None:
    """A timeout or a refused connection is null, not 0."""
    letter = letter_of(BODY, "gave_up", None, answer=b"")
    assert (letter["status"], letter["answer"]) == (None, "")


def test_twins_have_a_letter_each() -> None:
    """Their ids are the same; what a replay or a drop takes out is not."""
    first, second = letter_of(BODY), letter_of(BODY)
    assert first["id"] == second["id"]
    assert first["letter"] != second["letter"]


def test_the_answer_steers_no_terminal() -> None:
    """It is somebody else's: control characters are escaped, and what is not UTF-8 does no harm."""
    assert letter_of(BODY, answer=b"\x1b[31mred\r\n\xff")["answer"] == "\\x1b[31mred\\r\\n\N{REPLACEMENT CHARACTER}"


def test_text_stays_readable() -> None:
    """A person reads the name as it was said, not as escapes."""
    assert "Zoë".encode() in raw_letter(BODY)


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
    assert b"\n" not in raw_letter(body)
