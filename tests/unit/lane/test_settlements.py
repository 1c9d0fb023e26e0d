"""How a CDR leaves, by where it came from."""

import pytest

from app.cdr import NEVER_FAILED, Cdr, Origin
from app.lane import settlements
from app.store.exchange import Settlement
from app.store.retry_set import Tokens, member_of

BODY, MEMBER = b"body", b"member"
NEW, STRAY = Cdr(BODY), Cdr(BODY, Origin.STRAY)
RETRIED = Cdr(BODY, Origin.RETRY, member=MEMBER)


@pytest.mark.parametrize(
    ("cdr", "held", "element"), [(NEW, "processing", BODY), (STRAY, "processing", BODY), (RETRIED, "retry", MEMBER)]
)
def test_taken_out_where_it_came_from(cdr: Cdr, held: str, element: bytes) -> None:
    """By its bytes from processing, by its member from whichever retry set holds it."""
    deferred = settlements.defer(cdr, NEVER_FAILED, 5, Tokens("p"))
    assert settlements.ack(cdr) == Settlement(held, "", element)  # type: ignore[arg-type]
    assert settlements.dead_letter(cdr, b"letter") == Settlement(held, "dead", element, b"letter")  # type: ignore[arg-type]
    assert deferred == Settlement(held, "retry", element, member_of("p-1", NEVER_FAILED, BODY), 5)  # type: ignore[arg-type]


def test_given_back() -> None:
    """To pending; a retried one as it was, and only while it is in hand."""
    assert settlements.give_back(NEW) == Settlement("processing", "pending", BODY, BODY)
    assert settlements.give_back(RETRIED) == Settlement("hand", "retry", MEMBER, MEMBER)


def test_weight() -> None:
    """What it adds to a command."""
    assert settlements.ack(NEW).weight == 4
    assert settlements.give_back(NEW).weight == 8
