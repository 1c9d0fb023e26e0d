"""What this process has claimed and not yet settled."""

import pytest

from app.cdr import Cdr, Origin
from app.lane.in_flight import InFlight


def retried(body: bytes, member: bytes) -> Cdr:
    return Cdr(body, Origin.RETRY, member=member)


def test_counts() -> None:
    """In number and bytes; what the retry set has handed out is in no processing list."""
    in_flight = InFlight()
    new, again = Cdr(b"new"), retried(b"retried", b"m")
    in_flight.add(new)
    in_flight.add(again)
    assert (in_flight.number, in_flight.size, in_flight.in_processing, in_flight.in_hand) == (2, 10, 1, 1)
    assert in_flight.has_member(b"m")
    in_flight.remove(again)
    in_flight.remove(new)
    assert (in_flight.number, in_flight.size, in_flight.in_processing, in_flight.in_hand) == (0, 0, 0, 0)
    assert not in_flight.has_member(b"m")


def test_a_cdr_leaves_once() -> None:
    """Whoever settles twice is wrong, and is told so."""
    in_flight, cdr = InFlight(), Cdr(b"x")
    in_flight.add(cdr)
    in_flight.remove(cdr)
    with pytest.raises(KeyError):
        in_flight.remove(cdr)


def test_oldest_first() -> None:
    """However the younger ones leave."""
    in_flight = InFlight()
    cdrs = [Cdr(b"x") for _ in range(3)]
    for cdr in cdrs:
        in_flight.add(cdr)
    in_flight.remove(cdrs[1])
    assert in_flight.oldest_claimed_at == cdrs[0].claimed_at
    in_flight.remove(cdrs[0])
    assert in_flight.oldest_claimed_at == cdrs[2].claimed_at


def test_watched() -> None:
    """What is there now and all that joins; not less what leaves: the page may show it still."""
    in_flight = InFlight()
    there, twin = Cdr(b"x"), Cdr(b"x")
    in_flight.add(there)
    with in_flight.watched() as known:
        in_flight.add(twin)
        in_flight.remove(there)
        in_flight.add(retried(b"x", b"m"))
        assert known == {b"x": 2}
    in_flight.add(Cdr(b"y"))
    assert known == {b"x": 2}
    with in_flight.watched() as known:
        assert known == {b"x": 1, b"y": 1}
