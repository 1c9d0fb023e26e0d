"""Which CDRs share a batch, and when it is full."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import pytest

from app.cdr import Cdr, History, Origin
from app.config.batch import BatchSettings
from app.config.timings import Timings
from app.delivery.batch import BatchForm
from app.delivery.batch_size import BatchSize
from app.lane.batch_inbox import BatchInbox
from tests.support.harness import eventually

SIZE: Final = 8


def inbox(concurrency: int = 8, *, linger: float = 60, most_bytes: int = 100_000) -> BatchInbox:
    settings = BatchSettings(batch_size=SIZE, batch_bytes=most_bytes)
    return BatchInbox(concurrency, BatchForm("json", "cdr"), BatchSize(settings, Timings()), linger)


def new(number: int, body: bytes = b'"new"') -> list[Cdr]:
    return [Cdr(body) for _ in range(number)]


def retried(number: int, attempts: int) -> list[Cdr]:
    return [Cdr(b'"retried"', Origin.RETRY, History(attempts)) for _ in range(number)]


def lengths(one: BatchInbox, batches: int) -> list[int]:
    return [len(one.take_batch()) for _ in range(batches)]


async def test_a_full_batch_is_taken() -> None:
    """In order; the rest waits for more."""
    one, cdrs = inbox(), new(SIZE + 1)
    one.put(cdrs)
    assert one.take_batch() == cdrs[:SIZE]
    assert not one.is_ready
    assert one.take_batch() == []
    one.put(new(SIZE - 1))
    assert one.take_batch()[0] is cdrs[-1]


async def test_the_oldest_waits_no_longer_than_the_linger() -> None:
    """Then whoever waits for a batch is woken."""
    one = inbox(linger=0.05)
    waiting = asyncio.create_task(one.wait())
    await asyncio.sleep(0)
    put_at = time.monotonic()
    one.put(new(3))
    assert one.take_batch() == []
    await waiting
    assert time.monotonic() - put_at >= 0.05
    assert lengths(one, 1) == [3]


async def test_so_many_bytes_are_a_batch() -> None:
    """A CDR that does not fit begins the next one; a larger one than all goes by itself."""
    one = inbox(most_bytes=1024)
    one.put(new(5, b'"%b"' % (b"x" * 300)))
    assert lengths(one, 2) == [3, 0]
    one.put(new(1, b'"%b"' % (b"x" * 2000)))
    assert lengths(one, 3) == [2, 1, 0]


@pytest.mark.parametrize(("attempts", "most"), [(0, 8), (1, 4), (2, 2), (3, 1), (4, 1), (10**9, 1)])
async def test_what_has_failed_shares_smaller_batches(attempts: int, most: int) -> None:
    """Half as large with each attempt, so that an offender is alone in the end."""
    one = inbox()
    one.put(retried(SIZE, attempts))
    assert lengths(one, SIZE) == [most] * (SIZE // most) + [0] * (SIZE - SIZE // most)


async def test_only_those_with_equal_attempts_share_one() -> None:
    """Whatever stands between them."""
    one, once, twice = inbox(), retried(4, 1), retried(2, 2)
    one.put([once[0], twice[0], once[1], twice[1], once[2], once[3]])
    assert one.take_batch() == once
    assert one.take_batch() == twice


async def test_retried_ones_wait_for_nothing() -> None:
    """And share no batch with new ones."""
    one = inbox()
    one.put(new(3))
    one.put(retried(2, 0))
    assert [[cdr.origin for cdr in one.take_batch()] for _ in range(2)] == [[Origin.RETRY] * 2, []]


async def test_retried_ones_take_a_quarter_of_the_workers() -> None:
    """While new ones fill a batch; each worker counts, and not each CDR."""
    one = inbox()
    one.put(retried(10, 3))
    one.put(new(2 * SIZE))
    first = one.take_batch()
    assert [first, lengths(one, 3)] == [first, [1, SIZE, SIZE]]
    one.done(first[0])
    assert lengths(one, 2) == [1, 1]


async def test_what_cannot_share_goes_alone() -> None:
    """And those behind it are not kept from each other."""
    one, good, bad = inbox(), new(SIZE), new(2, b"bad")
    one.put([good[0], bad[0], *good[1:4], bad[1], *good[4:]])
    assert [one.take_batch() for _ in range(2)] == [good, []]
    one.put(new(SIZE - 2))
    assert [one.take_batch() for _ in range(2)] == [[bad[0]], []]


async def test_all_are_taken_back() -> None:
    """The newest first; later ones begin anew."""
    one, cdrs = inbox(), new(5)
    one.put(cdrs)
    assert one.take_new() is cdrs[0]
    assert one.take_back() == cdrs[:0:-1]
    one.put(new(SIZE - 1))
    assert not one.is_ready


async def test_one_worker_wakes_the_next() -> None:
    """As long as there are batches; none is woken in vain."""
    one = inbox()
    woken: list[int] = []

    async def work(number: int) -> None:
        await one.wait()
        woken.append(len(one.take_batch()) * 10 + number)

    tasks: Sequence[asyncio.Task[None]] = [asyncio.create_task(work(number)) for number in range(3)]
    await asyncio.sleep(0)
    one.put(new(2 * SIZE + 1))
    await eventually(lambda: len(woken) == 2)
    assert sorted(woken) == [80, 81]
    tasks[2].cancel()
