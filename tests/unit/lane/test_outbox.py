"""What is on its way to Redis."""

import math
import time

from app.cdr import Cdr
from app.config.timings import Timings
from app.lane import settlements
from app.lane.outbox import Outbox, Parcel
from tests.support.harness import eventually


def parcel(body: bytes = b"x") -> Parcel:
    return Parcel(Cdr(body), settlements.ack(Cdr(body)), lambda _cdr, _found: None)


def test_in_order() -> None:
    """First in, first out; no more than asked for."""
    outbox, parcels = Outbox(Timings()), [parcel() for _ in range(3)]
    for one in parcels:
        outbox.put(one)
    assert outbox.ready == 3
    assert outbox.take(2, 1000) == parcels[:2]
    assert outbox.take(2, 1000) == parcels[2:]


def test_no_more_than_the_bytes() -> None:
    """But one at least, however large."""
    outbox = Outbox(Timings())
    for size in (10, 10, 10, 1000):
        outbox.put(parcel(b"x" * size))
    assert len(outbox.take(9, 25)) == 2
    assert len(outbox.take(9, 25)) == 1
    assert len(outbox.take(9, 25)) == 1
    assert outbox.take(9, 25) == []


def test_given_back_apart() -> None:
    """In a queue of its own, in order."""
    outbox, parcels = Outbox(Timings()), [parcel() for _ in range(3)]
    outbox.give_back(parcels)
    assert (outbox.ready, outbox.returned, len(outbox)) == (0, 3, 3)
    assert outbox.take_returned(2, 1000) == parcels[:2]


async def test_refused_ones_are_put_aside() -> None:
    """They are tried again after a pause, and count as long as they are here."""
    outbox, refused = Outbox(Timings()), parcel()
    outbox.refuse(refused)
    assert (outbox.ready, len(outbox)) == (0, 1)
    assert time.monotonic() <= outbox.next_try_at <= time.monotonic() + 0.2
    await eventually(lambda: outbox.ready == 1)
    assert outbox.take(9, 1000) == [refused]
    assert outbox.next_try_at == math.inf


def test_pauses_grow() -> None:
    """To that for what a person has to set right, and not beyond."""
    stubborn, longest = parcel(), 0.0
    stubborn.tries = 20
    for _ in range(100):
        outbox = Outbox(Timings())
        outbox.refuse(stubborn)
        longest = max(longest, outbox.next_try_at - time.monotonic())
    assert 3 < longest <= 5


def test_worth_waking() -> None:
    """At the first, and at each whole batch."""
    outbox, woken = Outbox(Timings()), []
    for number in range(1, 10):
        outbox.put(parcel())
        if outbox.is_worth_waking(4):
            woken.append(number)
    assert woken == [1, 4, 8]
