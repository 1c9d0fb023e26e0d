"""The sentence about an endpoint is true, and the worst is said first."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.ops.report import EndpointReport
from app.ops.words import Waiting, clock, condition

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=18)
WELL = EndpointReport(breaker="closed")
DOWN = EndpointReport(
    breaker="open", failing_since=EARLIER, failing_with="503", next_probe_at=NOW + timedelta(seconds=12)
)
PROBED = EndpointReport(breaker="half-open", failing_since=EARLIER, failing_with="timeout")
GONE = EndpointReport(breaker="open", gone=True, failing_since=EARLIER, failing_with="410", next_probe_at=NOW)
FAILING = EndpointReport(breaker="closed", failing_since=EARLIER, failing_with="503")
HELD = EndpointReport(breaker="closed", hold_until=NOW + timedelta(seconds=90))
REFUSED = EndpointReport(breaker="closed", failing_with="401", last_attempt_at=EARLIER)
BUSY = EndpointReport(breaker="closed", in_flight=3)


@pytest.mark.parametrize(
    ("reports", "waiting", "state", "words"),
    [
        ([], Waiting(all=2), "unknown", "no forwarder reports on it, 2 CDRs wait in Redis"),
        ([WELL], Waiting(), "idle", "idle: all is delivered, waiting for CDRs"),
        (
            [WELL],
            Waiting(dead=1),
            "idle",
            "idle: all is delivered, waiting for CDRs; 1 dead letter wants a decision",
        ),
        ([WELL], Waiting(all=3, deferred=3), "retrying", "nothing new; 3 failed and will be tried again"),
        (
            [WELL, REFUSED],
            Waiting(all=3, deferred=3),
            "retrying",
            "nothing new; 3 failed (last: 401: wrong secret or credentials?) and will be tried again",
        ),
        ([BUSY, WELL], Waiting(all=3), "delivering", "delivering, 3 in flight, 0 pending"),
        (
            [WELL],
            Waiting(pending=4, all=6, deferred=2),
            "delivering",
            "delivering, 0 in flight, 4 pending, 2 failed and will be tried again",
        ),
        ([HELD], Waiting(all=1), "held", "asked for time (Retry-After), 1 CDR waits in Redis, goes on in 90 s"),
        (
            [FAILING],
            Waiting(all=3, deferred=3),
            "failing",
            "every attempt has failed since 12:12 UTC (503), 3 CDRs wait in Redis",
        ),
        (
            [DOWN],
            Waiting(all=1204),
            "down",
            "down since 12:12 UTC (503), 1,204 CDRs wait in Redis, next probe in 12 s",
        ),
        ([PROBED], Waiting(), "down", "down since 12:12 UTC (timeout), 0 CDRs wait in Redis, next probe under way"),
        (
            [GONE],
            Waiting(),
            "down",
            ("gone (it answers 410; check its URL) since 12:12 UTC (410), 0 CDRs wait in Redis, next probe under way"),
        ),
        (
            [WELL, DOWN, FAILING],
            Waiting(all=2, dead=3),
            "down",
            (
                "for 1 of 3 processes down since 12:12 UTC (503), 2 CDRs wait in Redis, next probe in 12 s; "
                "3 dead letters want a decision"
            ),
        ),
    ],
)
def test_its_state_is_put_into_words(reports: list[EndpointReport], waiting: Waiting, state: str, words: str) -> None:
    found = condition(reports, waiting, NOW)
    assert (found.state, found.words) == (state, words)


@pytest.mark.parametrize(
    ("failing_with", "said"),
    [
        ("401", "(401: wrong secret or credentials?)"),
        ("404", "(404: wrong URL?)"),
        ("tls", "(tls: wrong or expired certificate?)"),
        ("503", "(503)"),
    ],
)
def test_what_a_person_must_repair_has_a_hint(failing_with: str, said: str) -> None:
    """A status alone says nothing to whoever is woken by it."""
    report = EndpointReport(breaker="open", failing_since=EARLIER, failing_with=failing_with)
    assert f"down since 12:12 UTC {said}" in condition([report], Waiting(), NOW).words


@pytest.mark.parametrize(
    ("days", "said"),
    [(22, ""), (5.5, "in 5 days"), (1, "in 1 day"), (0.1, "in 0 days")],
)
def test_a_certificate_that_ends_soon_is_told(days: float, said: str) -> None:
    """As the process that tried last saw it: the others may remember the one that was renewed."""
    old = EndpointReport(certificate_ends=NOW + timedelta(hours=1), last_attempt_at=EARLIER)
    new = EndpointReport(certificate_ends=NOW + timedelta(days=days), last_attempt_at=NOW)
    found = condition([new, old], Waiting(), NOW)
    assert found.words.endswith(f"; its certificate ends {said}: have it renewed" if said else "waiting for CDRs")
    assert found.certificate_ends_soon == bool(said)


def test_times_are_in_the_zone_of_the_reader() -> None:
    """Who knows it; only UTC is named, since nobody lives there."""
    east = timezone(timedelta(hours=2))
    assert condition([DOWN], Waiting(), NOW, east).words.startswith("down since 14:12 (503)")
    assert clock(NOW - timedelta(days=2), NOW.astimezone(east)) == "2026-02-27 14:30"


def test_a_report_that_says_nothing_is_no_trouble() -> None:
    """Of a version that is not known yet, or of somebody who writes nonsense."""
    assert condition([EndpointReport(breaker="ajar")], Waiting(), NOW).state == "idle"
    nonsense = EndpointReport(breaker="open", hold_until=datetime.max.replace(tzinfo=UTC))
    assert condition([nonsense], Waiting(), NOW).words.startswith("down since ? (?)")


def test_a_time_of_another_day_has_its_date() -> None:
    """12:30 alone would be read as today's."""
    assert clock(NOW - timedelta(hours=23), NOW) == "13:30 UTC"
    assert clock(NOW - timedelta(days=2), NOW) == "2026-02-27 12:30 UTC"
