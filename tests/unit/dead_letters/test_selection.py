"""Which dead letters a person means."""

import pytest

from app.dead_letters.selection import Selection
from app.dead_letters.store import Letter
from tests.support.letters import raw_letter

CALL = b'{"payload": {"call_ref": "c2d-17-4821", "call_time": 187, "name": "M\\u00fcller", "ok": true, "none": null}}'


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("payload.call_ref=c2d-17-4821", True),
        (" payload.call_ref = C2D-17-4821 ", True),
        ("payload.call_ref=c2d-17", False),
        ("payload.call_time=187", True),
        ("payload.call_time=18", False),
        ("payload.name=Müller", True),
        ("payload.ok=true", True),
        ("payload.none=null", False),
        ("payload.other=187", False),
        ("=187", False),
        ("payload.call_time=", False),
        ("c2d-17", True),
        ('"call_time": 187', True),
    ],
)
def test_text_is_somewhere_in_the_cdr_or_the_value_of_a_field(text: str, *, is_found: bool) -> None:
    """A field is compared as a whole: 18 is not 187."""
    assert Selection(text=text).holds(Letter.read(raw_letter(CALL))) is is_found


@pytest.mark.parametrize("body", [b"not JSON", b"\xff\xfe", b"payload.a=1"])
def test_a_cdr_that_is_no_json_has_no_fields(body: bytes) -> None:
    """It is found by its text only."""
    assert Selection(text="payload.a=1").holds(Letter.read(raw_letter(body))) is (body == b"payload.a=1")
