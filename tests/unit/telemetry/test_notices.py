"""When a notice is due, and what it says."""

import time
from collections import Counter

import pytest

from app.config.timings import Timings
from app.telemetry.notice import Notice, Writer, lasted
from app.telemetry.notices import Notices
from app.telemetry.subjects import NEVER, Lasting, Subject

TIMINGS = Timings()


@pytest.fixture
def notices() -> Notices:
    return Notices(Writer("acme", "host-1"), TIMINGS)


@pytest.fixture
def endpoint(notices: Notices) -> Lasting:
    return notices.endpoint("billing", "billing.example:443", lambda: 12)


def tell(subject: Subject, *, is_accepted: bool = True) -> Notice:
    notice = subject.notice()
    subject.told(is_accepted=is_accepted)
    return notice


def is_due(subject: Subject, within: float = 0) -> bool:
    return subject.due_at <= time.monotonic() + within


def test_begin_and_end_are_told_at_once(endpoint: Lasting) -> None:
    """With what failed, how long it was, and how many wait."""
    endpoint.lost("attempts", "401", "correct its secret")
    assert is_due(endpoint)
    assert tell(endpoint).text == (
        "cdr-forwarder acme on host-1: endpoint billing (billing.example:443) is down: 401. "
        "12 CDRs wait; none is lost. A person is needed: correct its secret."
    )
    assert endpoint.due_at == NEVER
    endpoint.back("attempts")
    assert is_due(endpoint)
    assert tell(endpoint).text == (
        "cdr-forwarder acme on host-1: endpoint billing (billing.example:443) is back after 0 s. 12 CDRs wait for it."
    )
    assert endpoint.due_at == NEVER


def test_a_second_outage_within_a_minute_waits_and_is_summed(endpoint: Lasting) -> None:
    """Two that come and go are nothing to tell; the one that lasts is told when the minute is over."""
    endpoint.lost("attempts", "503")
    tell(endpoint)
    endpoint.back("attempts")
    tell(endpoint)
    for _ in range(3):
        endpoint.back("attempts")
        assert endpoint.due_at == NEVER
        endpoint.lost("attempts", "503")
        assert not is_due(endpoint, TIMINGS.notice_pause - 5)
        assert is_due(endpoint, TIMINGS.notice_pause)
    assert "It was down 2 more times since the last notice." in tell(endpoint).text


def test_an_end_while_its_begin_is_being_sent_is_not_lost(endpoint: Lasting) -> None:
    """The chat hears it right after."""
    endpoint.lost("attempts", "503")
    assert endpoint.notice().event == "endpoint.lost"
    endpoint.back("attempts")
    endpoint.told(is_accepted=True)
    assert is_due(endpoint)
    assert endpoint.notice().event == "endpoint.back"


@pytest.mark.parametrize("is_known", [True, False])
def test_what_nobody_accepted_is_told_later(endpoint: Lasting, *, is_known: bool) -> None:
    """Ten minutes later, if it is still true; an end of which the chat knows no begin is nothing to tell."""
    endpoint.lost("attempts", "503")
    tell(endpoint, is_accepted=is_known)
    if is_known:
        endpoint.back("attempts")
        tell(endpoint, is_accepted=False)
    assert not is_due(endpoint, TIMINGS.reminder - 5)
    assert is_due(endpoint, TIMINGS.reminder)
    if not is_known:
        endpoint.back("attempts")
        assert endpoint.due_at == NEVER


def test_one_cause_less_is_no_end(notices: Notices) -> None:
    """A Redis that answers, and refuses our login, is not back."""
    redis = notices.redis("redis://host:6379/***", "campaigns")
    away, login = redis.cause("away"), redis.cause("login")
    away.lost("Connection refused")
    notice = tell(redis)
    assert (notice.event, notice.fields["source"]) == ("redis.lost", "campaigns")
    login.lost("WRONGPASS")
    away.back()
    assert redis.due_at == NEVER
    login.back()
    assert is_due(redis)


def test_dead_letters_of_an_hour_are_summed(notices: Notices) -> None:
    """The first is told at once; what nobody accepted is told with the next."""
    dead = notices.dead_letters("billing")
    dead.add(Counter({"rejected (422)": 1}))
    assert is_due(dead)
    assert "1 CDR became a dead letter at endpoint billing, rejected (422)." in tell(dead).text
    dead.add(Counter({"rejected (422)": 1}))
    dead.add(Counter({"rejected (422)": 1, "gave_up (503)": 1}))
    assert not is_due(dead, TIMINGS.notice_hour - 5)
    assert is_due(dead, TIMINGS.notice_hour)
    assert tell(dead, is_accepted=False).fields["number"] == 3
    assert is_due(dead, TIMINGS.reminder)
    assert "3 CDRs became dead letters at endpoint billing, rejected (422): 2, gave_up (503): 1." in tell(dead).text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7260, "2 h 1 min"), (180_000, "2 d 2 h")],
)
def test_a_duration_is_in_words(seconds: float, words: str) -> None:
    """Its two largest units."""
    assert lasted(seconds) == words
