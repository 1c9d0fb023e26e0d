"""The parse of answers, byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.transport.answer import MOST_BODY, MOST_HEAD, Answer

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def fed(*pieces: bytes) -> Answer:
    answer = Answer()
    for piece in pieces:
        answer.feed(piece)
    return answer


def test_a_status_counts_when_its_line_is_terminated() -> None:
    """Not a byte earlier: the next one might make it another number."""
    answer = fed(b"HTTP/1.1 200 OK\r")
    assert (answer.status, answer.is_known) == (0, False)
    answer.feed(b"\n")
    assert (answer.status, answer.is_known, answer.has_head) == (200, True, False)


def test_a_refusal_is_known_with_its_head() -> None:
    """Retry-After may be in it."""
    answer = fed(b"HTTP/1.1 503 Busy\r\nretry-after: 1\r\n")
    assert (answer.status, answer.is_known) == (503, False)
    answer.feed(b"\r\n")
    assert answer.is_known
    assert answer.headers == [(b"retry-after", b"1")]


@given(cuts=st.lists(st.integers(1, len(OK) - 1), unique=True).map(sorted))
def test_where_an_answer_is_cut_makes_no_difference(cuts: list[int]) -> None:
    """A network cuts where it likes."""
    answer = fed(*(OK[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(OK)], strict=True)))
    assert (answer.status, b"".join(answer.pieces), answer.is_whole, answer.is_reusable) == (200, b"ok", True, True)


@pytest.mark.parametrize("size", [1, 8 * 1024, 100 * 1024])
@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"HTTP/1.1 200 " + b"a" * 8000 + b"\r\n\r\n", 200),
        (b"HTTP/1.1 200 " + b"a" * 9000 + b"\r\n\r\n", 0),
        (b"HTTP/1.1 103 Hints\r\nx: " + b"a" * 60_000 + b"\r\n\r\n" + OK, 200),
        (b"HTTP/1.1 103 Hints\r\nx: " + b"a" * 70_000 + b"\r\n\r\n" + OK, 0),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" + b"a" * 70_000, 200),
    ],
    ids=["line", "long-line", "interim", "long-interim", "long-body"],
)
def test_what_is_too_long_is_too_long_in_pieces_of_any_size(received: bytes, status: int, size: int) -> None:
    """A status line of 8 KiB, and an interim answer of 64 KiB."""
    answer = fed(*(received[begin : begin + size] for begin in range(0, len(received), size)))
    assert answer.status == status


@given(rest=st.binary(min_size=1), cut=st.integers(0, 40))
def test_one_byte_too_many_and_the_connection_is_not_used_again(rest: bytes, cut: int) -> None:
    """In the same piece or in the next one."""
    received = OK + rest
    answer = fed(*filter(None, (received[:cut], received[cut:])))
    assert (answer.status, answer.is_whole, answer.is_reusable) == (200, True, False)


def test_one_answer_after_the_other() -> None:
    """Nothing of an answer is left for the next."""
    answer = fed(b"HTTP/1.1 503 No\r\nretry-after: 1\r\ncontent-length: 1\r\n\r\nx")
    answer.begin()
    answer.feed(OK)
    assert (answer.status, answer.headers) == (200, [(b"content-length", b"2")])
    assert b"".join(answer.pieces) == b"ok"


def test_a_long_body_is_cut() -> None:
    """Whatever its length, it is read no further."""
    answer = fed(b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n" + b"x" * MOST_BODY)
    assert not answer.has_ended
    answer.feed(b"xxx")
    assert (answer.has_ended, answer.is_cut, answer.is_reusable) == (True, True, False)
    assert len(b"".join(answer.pieces)) == MOST_BODY


def test_a_body_of_small_chunks_is_cut_as_well() -> None:
    """Its framing is read too."""
    answer = fed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    fits = (MOST_HEAD + MOST_BODY) // len(b"1;aaaaaaaaaaaa\r\nx\r\n")
    for _ in range(fits + 1):
        answer.feed(b"1;aaaaaaaaaaaa\r\nx\r\n")
    assert answer.has_ended


@pytest.mark.parametrize("filler", [b"x: " + b"a" * MOST_HEAD, b"x: a\r\n" * MOST_HEAD])
def test_a_long_head_is_cut(filler: bytes) -> None:
    """Its status stands."""
    answer = fed(b"HTTP/1.1 503 No\r\n", filler[: MOST_HEAD // 2])
    assert not answer.has_ended
    answer.feed(filler[: MOST_HEAD // 2 + 1])
    assert (answer.status, answer.has_ended, answer.is_whole) == (503, True, False)


@given(st.binary(max_size=64))
def test_no_bytes_are_a_foreign_error(data: bytes) -> None:
    """Whatever comes is an answer, may become one, or is none."""
    answer = fed(*filter(None, (data, b"HTTP/1.1 ", data)))
    assert isinstance(answer.is_known, bool)


def test_the_end_of_a_connection_ends_only_a_body_without_length() -> None:
    """All others are cut off by it."""
    for head, is_whole in ((b"", True), (b"content-length: 9\r\n", False), (b"Transfer-Encoding: chunked\r\n", False)):
        answer = fed(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        answer.end()
        assert (answer.has_ended, answer.is_whole, answer.is_reusable) == (True, is_whole, False)
