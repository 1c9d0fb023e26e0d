"""What is being delivered, counted."""

import pytest
from app.lane.parking import FailingRecord, now

from app.cdr import Cdr
from app.lane.in_flight import MOST_BYTES, InFlight


@pytest.fixture
def in_flight() -> InFlight:
    return InFlight(slots=4)


def test_twins_are_counted_one_by_one(in_flight: InFlight) -> None:
    """Two of the same bytes are two deliveries, and take two slots."""
    first, second = Cdr(b"twin"), Cdr(b"twin")
    in_flight.add(first)
    in_flight.add(second)
    assert (in_flight.copies(b"twin"), in_flight.number, in_flight.free) == (2, 2, 2)
    in_flight.remove(first)
    assert (in_flight.copies(b"twin"), in_flight.number, in_flight.free) == (1, 1, 3)


def test_what_has_left_is_forgotten(in_flight: InFlight) -> None:
    """A process that runs for months does not remember every CDR that it has ever seen."""
    cdr = Cdr(b"cdr")
    in_flight.add(cdr)
    in_flight.remove(cdr)
    assert in_flight.copies(b"cdr") == 0
    assert not in_flight._copies


def test_asking_for_copies_remembers_nothing(in_flight: InFlight) -> None:
    """A sweep asks for every element of a list, however long."""
    assert in_flight.copies(b"never seen") == 0
    assert not in_flight._copies


def test_reserved_slots_are_not_free(in_flight: InFlight) -> None:
    """What a claim on the wire may bring has its place already."""
    in_flight.add(Cdr(b"cdr"))
    in_flight.reserve(2)
    assert in_flight.free == 1
    in_flight.release(2)
    assert in_flight.free == 3


def test_there_are_never_less_than_no_free_slots(in_flight: InFlight) -> None:
    """Acks on the wire may have promised their slots already."""
    in_flight.reserve(6)
    assert in_flight.free == 0


def test_bytes_are_bounded_whatever_the_slots(in_flight: InFlight) -> None:
    """With the bound reached nothing more is claimed, however many slots there are."""
    large = Cdr(bytes(MOST_BYTES - 10))
    in_flight.add(large)
    assert (in_flight.free, in_flight.free_bytes) == (3, 10)
    in_flight.add(Cdr(bytes(20)))
    assert (in_flight.free, in_flight.free_bytes) == (0, 1)
    in_flight.remove(large)
    assert (in_flight.free, in_flight.free_bytes) == (3, MOST_BYTES - 20)


def test_those_that_failed_before_are_counted_apart(in_flight: InFlight) -> None:
    """They leave room for new ones."""
    failed = Cdr(b"failed", failing=FailingRecord(now(), 5, now()))
    in_flight.add(failed)
    in_flight.add(Cdr(b"new"))
    assert in_flight.retried == 1
    in_flight.remove(failed)
    assert in_flight.retried == 0
