"""How many bytes one command may carry."""

import time

from app.store.budget import QUICK, Budget


def test_halved_down_to_one_cdr() -> None:
    """One byte asks for one CDR, however large."""
    budget = Budget(1000)
    budget.lost(1000)
    assert budget.bytes == 500
    for _ in range(20):
        budget.lost(budget.bytes)
    assert budget.bytes == 1


def test_many_losses_in_one_moment_count_as_one() -> None:
    """A Redis that restarts loses the replies on all channels: that says nothing about their size."""
    budget = Budget(1000)
    for _ in range(32):
        budget.lost(1000)
    assert budget.bytes == 500
    budget.lost(2000)
    assert budget.bytes == 500


def test_what_is_slow_carries_less_the_next_time() -> None:
    """Long before it is lost; and never more than before."""
    budget, now = Budget(1000), time.monotonic()
    budget.answered(1000, now - 2 * QUICK)
    assert budget.bytes == 750
    budget.answered(1000, now - 2 * QUICK)
    assert budget.bytes == 750


def test_grows_again() -> None:
    """From one byte too, and never above the most."""
    budget = Budget(1000)
    budget.bytes = 1
    for _ in range(100):
        before = budget.bytes
        budget.answered(before, time.monotonic())
        assert before < budget.bytes <= 1000 or before == budget.bytes == 1000
    assert budget.bytes == 1000


def test_what_carried_little_says_nothing_of_more() -> None:
    """An ack on a slow link is quick whatever a page would be."""
    budget = Budget(1000)
    budget.lost(1000)
    budget.answered(100, time.monotonic())
    assert budget.bytes == 500


def test_a_small_one_means_a_bad_link() -> None:
    """Not one lost reply alone."""
    budget = Budget(1000)
    budget.lost(1000)
    assert not budget.is_small
    budget.lost(250)
    assert budget.is_small
