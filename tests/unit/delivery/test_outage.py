"""An outage of an endpoint is two lines."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.config.timings import Timings
from app.delivery.outage import Outage
from app.delivery.verdict import Kind, Verdict
from tests.support.harness import eventually, passed

REFUSED = Verdict(Kind.TRANSIENT, "connect", detail="connection refused")


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


@pytest.fixture
def outage(said: list[EventDict]) -> Outage:
    return Outage("webhook", "example.org:443", Timings(failing=0.05, summary=0.02), lambda: 7)


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
        (Verdict(Kind.TRANSIENT, "tls"), "error"),
    ],
)
def test_a_wrong_url_needs_a_person(outage: Outage, said: list[EventDict], verdict: Verdict, level: str) -> None:
    """It does not recover by itself."""
    outage.note(verdict, down=True)
    assert said[0]["log_level"] == level


def test_gone(outage: Outage, said: list[EventDict]) -> None:
    """A row of 410 is told as such."""
    outage.note(Verdict(Kind.TRANSIENT, "http_4xx", 410), down=True)
    assert names(said) == ["endpoint.lost", "endpoint.gone"]


async def test_rejections_are_summed(outage: Outage, said: list[EventDict]) -> None:
    """The first at once, those that follow once a minute."""
    for _ in range(5):
        outage.note_rejection(Verdict(Kind.REJECTED, "http_4xx", 422))
    await eventually(lambda: len(said) == 2)
    assert [(event["event"], event["number"], event["status"]) for event in said] == [
        ("cdrs.rejected", 1, 422),
        ("cdrs.rejected", 4, 422),
    ]
