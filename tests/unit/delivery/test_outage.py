"""An outage of an endpoint is two lines."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.delivery.outage import Outage, Refusals
from app.delivery.verdict import Kind, Verdict
from tests.support.harness import passed

REFUSED = Verdict(Kind.TRANSIENT, "connect", detail="connection refused")


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


@pytest.fixture
def outage(said: list[EventDict]) -> Outage:
    return Outage("webhook", "example.org:443", 0.05, lambda: 7)


def names(said: list[EventDict]) -> list[str]:
    return [event["event"] for event in said]


def test_begins_when_the_breaker_opens(outage: Outage, said: list[EventDict]) -> None:
    """Once, with what failed and where; it ends with how many waited."""
    outage.note(REFUSED, down=True)
    outage.note(REFUSED, down=True)
    outage.end()
    outage.end()
    lost, back = said
    assert (lost["event"], lost["error"], lost["place"]) == ("endpoint.lost", "connection refused", "example.org:443")
    assert (back["event"], back["waiting"]) == ("endpoint.back", 7)


async def test_begins_after_a_minute_of_failures(outage: Outage, said: list[EventDict]) -> None:
    """Where the breaker never opens; a 2xx begins the minute anew."""
    outage.note(REFUSED, down=False)
    assert said == []
    await passed(0.06)
    outage.end()
    outage.note(REFUSED, down=False)
    assert said == []
    await passed(0.06)
    outage.note(REFUSED, down=False)
    assert names(said) == ["endpoint.lost"]


@pytest.mark.parametrize(
    ("verdict", "level"),
    [
        (REFUSED, "warning"),
        (Verdict(Kind.TRANSIENT, "http_5xx", 503), "warning"),
        (Verdict(Kind.TRANSIENT, "http_4xx", 401), "error"),
        (Verdict(Kind.TRANSIENT, "http_4xx", 404), "error"),
        (Verdict(Kind.TRANSIENT, "http_4xx", 418), "error"),
        (Verdict(Kind.TRANSIENT, "http_3xx", 301), "error"),
        (Verdict(Kind.REJECTED, "http_4xx", 400), "error"),
        (Verdict(Kind.TRANSIENT, "http_4xx", 429), "warning"),
        (Verdict(Kind.TRANSIENT, "timeout"), "warning"),
        (Verdict(Kind.TRANSIENT, "tls"), "error"),
    ],
)
def test_a_wrong_url_needs_a_person(outage: Outage, said: list[EventDict], verdict: Verdict, level: str) -> None:
    """It does not recover by itself, so the event says what to do."""
    outage.note(verdict, down=True)
    assert said[0]["log_level"] == level
    assert ("advice" in said[0]) == (level == "error")


async def test_what_begins_to_need_a_person_is_told_once_more(outage: Outage, said: list[EventDict]) -> None:
    """A receiver that was restarted, and has had another secret since: after a minute of 401."""
    wrong = Verdict(Kind.TRANSIENT, "http_4xx", 401)
    for verdict in (REFUSED, wrong, REFUSED, wrong):
        outage.note(verdict, down=True)
    assert [event["log_level"] for event in said] == ["warning"]
    await passed(0.06)
    outage.note(wrong, down=True)
    outage.note(wrong, down=True)
    assert [(event["log_level"], event["error"]) for event in said[1:]] == [("error", "401")]


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (REFUSED, "connection refused"),
        (Verdict(Kind.TRANSIENT, "timeout"), "timeout"),
        (Verdict(Kind.TRANSIENT, "timeout", detail="not connected in time"), "timeout: not connected in time"),
        (Verdict(Kind.TRANSIENT, "dns", detail="Name or service not known"), "dns: Name or service not known"),
        (Verdict(Kind.TRANSIENT, "http_5xx", 503), "503"),
    ],
)
def test_it_says_what_failed(outage: Outage, said: list[EventDict], verdict: Verdict, words: str) -> None:
    """In a word that people search for."""
    outage.note(verdict, down=True)
    assert said[0]["error"] == words


def test_gone(outage: Outage, said: list[EventDict]) -> None:
    """A row of 410 is told as such."""
    outage.note(Verdict(Kind.TRANSIENT, "http_4xx", 410), down=True)
    assert names(said) == ["endpoint.lost", "endpoint.gone"]


async def test_rejections_are_summed(said: list[EventDict]) -> None:
    """The first at once, those that follow once a minute, by status; dead letters too, by reason."""
    refusals = Refusals("webhook", 60)
    for status in (422, 422, 400):
        refusals.rejected(Verdict(Kind.REJECTED, "http_4xx", status))
        refusals.dead_lettered("rejected", Verdict(Kind.REJECTED, "http_4xx", status))
    refusals.close()
    assert [(event["event"], event["number"]) for event in said] == [
        *[("cdrs.rejected", 1), ("cdrs.dead_lettered", 1), ("cdrs.rejected", 2), ("cdrs.dead_lettered", 2)]
    ]
    assert said[2]["statuses"] == {"422": 1, "400": 1}
    assert said[3]["reasons"] == {"rejected (422)": 1, "rejected (400)": 1}
