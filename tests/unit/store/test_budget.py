"""How many bytes one command may carry."""

from app.store.budget import Budget


def test_halved_down_to_one_cdr() -> None:
    """One byte asks for one CDR, however large."""
    budget = Budget(1000)
    budget.lost()
    assert budget.bytes == 500
    for _ in range(20):
        budget.lost()
    assert budget.bytes == 1


def test_grows_again() -> None:
    """From one byte too, and never above the most."""
    budget = Budget(1000)
    budget.bytes = 1
    for _ in range(100):
        before = budget.bytes
        budget.answered()
        assert before < budget.bytes <= 1000 or before == budget.bytes == 1000
    assert budget.bytes == 1000
