"""Who gets the next CDR."""

import asyncio
from contextlib import suppress

from app.cdr import Cdr, Origin
from app.lane.inbox import Inbox
from tests.support.harness import eventually


def new(number: int) -> list[Cdr]:
    return [Cdr(b"new") for _ in range(number)]


def retried(number: int) -> list[Cdr]:
    return [Cdr(b"retried", Origin.RETRY) for _ in range(number)]


def taken(inbox: Inbox, number: int) -> list[bytes]:
    """Take so many, each for a worker of its own that does not end."""
    return [cdr.body for _ in range(number) if (cdr := inbox.take())]


def test_oldest_first() -> None:
    """In the order in which they were claimed."""
    inbox, cdrs = Inbox(8), new(3)
    inbox.put(cdrs)
    assert [inbox.take() for _ in range(4)] == [*cdrs, None]


def test_retried_ones_first_for_a_quarter_of_the_workers() -> None:
    """While new ones wait; those that fail for ever must not keep good ones waiting."""
    inbox = Inbox(8)
    inbox.put(retried(5) + new(5))
    assert taken(inbox, 8) == [b"retried"] * 2 + [b"new"] * 5 + [b"retried"]


def test_a_worker_that_ends_makes_room() -> None:
    """For the next retried one."""
    inbox = Inbox(8)
    inbox.put(retried(3) + new(3))
    first = inbox.take()
    assert first
    assert taken(inbox, 2) == [b"retried", b"new"]
    inbox.done(first)
    assert taken(inbox, 1) == [b"retried"]
    inbox.done(Cdr(b"new"))
    assert taken(inbox, 1) == [b"new"]


def test_a_few_workers() -> None:
    """At least one takes retried ones."""
    inbox = Inbox(2)
    inbox.put(retried(2) + new(2))
    assert taken(inbox, 3) == [b"retried", b"new", b"new"]


def test_one_worker_alternates() -> None:
    """Neither kind waits for the other to end."""
    inbox, order = Inbox(1), []
    inbox.put(retried(3) + new(3))
    while cdr := inbox.take():
        order.append(cdr.body)
        inbox.done(cdr)
    assert order == [b"retried", b"new"] * 3


def test_retried_ones_alone() -> None:
    """All workers take them where nothing new waits."""
    inbox = Inbox(8)
    inbox.put(retried(8))
    assert len(taken(inbox, 8)) == 8


def test_a_probe_takes_a_new_one() -> None:
    """Or none."""
    inbox = Inbox(8)
    inbox.put(retried(1) + new(1))
    probe = inbox.take_new()
    assert probe
    assert probe.body == b"new"
    assert inbox.take_new() is None


def test_taken_back_newest_first() -> None:
    """So that each can be put before those that are pending."""
    inbox, cdrs, again = Inbox(8), new(2), retried(2)
    inbox.put(cdrs + again)
    assert (len(inbox), inbox.retried) == (4, 2)
    assert inbox.take_back() == [cdrs[1], cdrs[0], again[1], again[0]]
    assert len(inbox) == 0


async def test_wakes_one_for_each() -> None:
    """Nobody wakes for nothing."""
    inbox, waiting, woken = Inbox(8), [], []

    async def worker(number: int) -> None:
        waiting.append(number)
        await inbox.wait()
        woken.append(number)

    workers = [asyncio.create_task(worker(number)) for number in range(3)]
    await eventually(lambda: len(waiting) == 3)
    inbox.put(new(2))
    await eventually(lambda: len(woken) == 2)
    assert not workers[2].done()
    inbox.wake()
    await asyncio.gather(*workers)
    assert woken == [0, 1, 2]


async def test_a_cancelled_worker_is_not_woken_in_place_of_another() -> None:
    """It waits no more."""
    inbox, waiting = Inbox(8), []

    async def worker(number: int) -> None:
        waiting.append(number)
        await inbox.wait()

    cancelled, other = (asyncio.create_task(worker(number)) for number in range(2))
    await eventually(lambda: len(waiting) == 2)
    cancelled.cancel()
    with suppress(asyncio.CancelledError):
        await cancelled
    inbox.put(new(1))
    await other
