"""Members of the retry set: one header line, then the exact bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cdr import NEVER_FAILED, Cdr, History
from app.dead_letters.letter import dead_letter
from app.store.retry_set import Tokens, member_of, read_member

MOMENTS = st.integers(0, 99_999_999_999_999)
HISTORIES = st.builds(
    History,
    attempts=st.integers(0, 999_999_999),
    strikes=st.integers(0, 999_999_999),
    first_failed_at=MOMENTS,
    first_strike_at=MOMENTS,
    last_failed_at=MOMENTS,
    last_result=st.sampled_from(["-", "http_5xx", "timeout"]),
    first_rejected_at=MOMENTS,
    replayed=st.booleans(),
)
NUMBERS = b"1 2 3 4 5 - 6 0"


@given(HISTORIES, st.binary(max_size=50))
def test_reads_what_it_wrote(history: History, body: bytes) -> None:
    """Whatever the bytes are, newlines and headers included."""
    assert read_member(member_of("token", history, body)) == (history, body)


@given(st.binary(max_size=80))
def test_reads_anything(body: bytes) -> None:
    """Nothing that stands there crashes a process, or is lost."""
    for member in (body, b"cdr1 " + body):
        history, read = read_member(member)
        assert member.endswith(read)
        assert history == NEVER_FAILED or member.startswith(b"cdr1 ")


@pytest.mark.parametrize(
    "header",
    [
        b"cdr1 ",
        b"cdr1 token",
        b"cdr1 token 1 2 3 4 5 - 6",
        b"cdr1 token -1 2 3 4 5 - 6 0",
        b"cdr1 token 1 2 3 4 5 - 6 2",
        b"cdr1 token 1 2 3 4 5 NO 6 0",
        b"cdr1 token 1e300 2 3 4 5 - 6 0",
        "cdr1 token \u0661 2 3 4 5 - 6 0".encode(),
        b"cdr1 token " + b"9" * 4300 + b" 2 3 4 5 - 6 0",
        b"cdr1 token " + b"9" * 5000 + b" 2 3 4 5 - 6 0",
        b"cdr1 token 1 2 999999999999999 4 5 - 6 0",
        b"cdr1 " + b"t" * 81 + b" " + NUMBERS,
        b"cdr1 token " + NUMBERS + b" more",
    ],
)
def test_odd_headers(header: bytes) -> None:
    """The rest is a CDR without history."""
    assert read_member(header + b"\nbody\nmore") == (NEVER_FAILED, b"body\nmore")


@pytest.mark.parametrize("member", [b"", b"{}", b"cdr1 token " + NUMBERS, b"cdr2 token\nx", b"cdr1\nx"])
def test_without_a_header(member: bytes) -> None:
    """It is a CDR as a whole."""
    assert read_member(member) == (NEVER_FAILED, member)


@given(HISTORIES)
def test_every_history_can_become_a_dead_letter(history: History) -> None:
    """A date that a header may hold is one that a letter can show."""
    letter = dead_letter(
        cdr=Cdr(b"x"), endpoint="e", source="cdr", reason="gave_up", status=None, answer=b"", history=history
    )
    assert b"first_failed_at" in letter


def test_tokens_are_drawn_once() -> None:
    """Twins stay two members."""
    tokens = Tokens("process")
    assert len({tokens.draw() for _ in range(100)}) == 100
