"""Whose fault a failure is: whether another CDR was accepted since this one's last failure."""

from hypothesis import given
from hypothesis import strategies as st

from app.delivery.successes import Successes

ID = st.sampled_from("abc")


def test_nobody_was_accepted() -> None:
    """The endpoint may be down."""
    assert not Successes().include_another("a", 1)


def test_another_was_accepted_since() -> None:
    """By an attempt that began after the failure; one that began at or before it does not count."""
    successes = Successes()
    successes.note("b", 10)
    assert successes.include_another("a", 9)
    assert not successes.include_another("a", 10)


def test_its_own_success_does_not_count() -> None:
    """A twin that was accepted says that this CDR can be."""
    successes = Successes()
    successes.note("a", 10)
    assert not successes.include_another("a", 1)
    successes.note("b", 5)
    assert successes.include_another("a", 4)
    assert not successes.include_another("a", 5)


def test_what_was_accepted_before_the_clock_was_set_back_is_forgotten() -> None:
    """It would look as if the endpoint had accepted others ever since, for as many hours."""
    successes = Successes()
    successes.note("b", 36_000_000)
    successes.note("c", 10)
    assert successes.include_another("a", 9)
    assert not successes.include_another("a", 10)


@given(st.lists(st.tuples(ID, st.integers(1, 30)), max_size=12), ID, st.integers(0, 30))
def test_it_remembers_enough(noted: list[tuple[str, int]], asked: str, moment: int) -> None:
    """Two successes answer as all of them would, in whichever order they end."""
    successes = Successes()
    for webhook_id, began in noted:
        successes.note(webhook_id, began)
    assert successes.include_another(asked, moment) == any(i != asked and began > moment for i, began in noted)
