"""A report: written within a limit, and read whatever stands in Redis."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from app.ops.report import EndpointReport, Report

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOWN = EndpointReport(
    breaker="open",
    failing_since=NOON,
    failing_with="503",
    next_probe_at=NOON,
    last_result="http_5xx",
    last_status=503,
    last_attempt_at=NOON,
    in_flight=3,
    attempts={"http_5xx": 12, "success": 4},
    dead_lettered={"rejected": 1},
)


def test_what_is_written_is_read() -> None:
    """Every field of it."""
    report = Report("id", "1.2.3", "host", NOON, NOON, {"crm": DOWN, "billing": EndpointReport()})
    assert Report.read(report.to_json()) == report


def test_a_report_is_never_longer_than_its_limit() -> None:
    """Endpoints for which there is no room are counted."""
    report = Report("id", "1.2.3", "host", NOON, NOON, {f"endpoint-{number}": DOWN for number in range(500)})
    written = report.to_json(most=10_000)
    assert 9_000 < len(written) <= 10_000
    kept = len(Report.read(written).endpoints)
    assert json.loads(written)["left_out"] == 500 - kept > 0


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe",
        b"not JSON",
        b"5",
        b"[]",
        b"null",
        b"[" * 50_000,
        b'{"a":' * 20_000,
        b'{"endpoints": 5}',
        b'{"endpoints": [1]}',
        b'{"id": {"x": 1}, "version": 7, "started_at": "yesterday", "at": "0001-01-01T00:00:00+14:00"}',
        b'{"delivered": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda value: value[:20].decode(errors="replace"),
)
def test_whatever_is_no_report_says_nothing(value: bytes) -> None:
    """What is in Redis may be anybody's."""
    assert Report.read(value) == Report()


@pytest.mark.parametrize(
    "stored",
    [
        5,
        None,
        [],
        {"breaker": 7, "gone": "yes", "in_flight": -1, "claimed": 1.5, "delivered": True, "deferred": 10**30},
        {"attempts": [1], "dead_lettered": "many", "last_status": "204", "hold_until": 12, "failing_since": ""},
    ],
)
def test_a_field_of_another_type_says_nothing(stored: Any) -> None:
    """And hides no other."""
    value = json.dumps({"id": "mine", "endpoints": {"crm": stored}}).encode()
    assert Report.read(value) == Report(id="mine", endpoints={"crm": EndpointReport()})


def test_texts_and_counts_are_cut() -> None:
    """A terminal and a page show what others wrote."""
    stored = {"breaker": "x" * 10_000, "attempts": {f"result {number}": 1 for number in range(10_000)}}
    read = EndpointReport.read(stored)
    assert len(read.breaker) <= 128
    assert len(read.attempts) <= 32
