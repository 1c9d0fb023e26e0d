"""When a CDR that an endpoint did not take is tried again, and when it is given up."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import pytest
from app.lane.parking import FailingRecord, Parking
from hypothesis import example, given
from hypothesis import strategies as st

NOW: Final = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
ATTEMPTS: Final = 5
RULES: Final = Parking(sweep_interval=60, give_up_after=86400, attempts=ATTEMPTS)
MOMENTS: Final = st.datetimes(timezones=st.just(UTC))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.lane.parking.now", lambda: NOW)


def failing_since(first_failed_at: datetime) -> FailingRecord:
    return FailingRecord(first_failed_at, ATTEMPTS, NOW)


# When it is tried again


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(5, 60), (6, 120), (7, 240), (8, 480), (9, 960), (10, 1920), (11, 3600), (12, 3600), (25, 3600), (10**9, 3600)],
)
def test_the_wait_doubles_with_each_try_up_to_an_hour(attempts: int, seconds: int) -> None:
    """The first wait is the sweep interval; no number of tries makes it more than an hour."""
    assert RULES.park(None, attempts, None).next_try == NOW + timedelta(seconds=seconds)


def test_a_stop_before_the_last_attempt_does_not_shorten_the_first_wait() -> None:
    """Fewer attempts than ATTEMPTS count as the first time."""
    assert RULES.park(None, 1, None).next_try == NOW + timedelta(seconds=60)


@pytest.mark.parametrize("interval", [3601.0, 1e9, 1e300])
def test_a_sweep_interval_of_any_length_parks_for_an_hour_at_most(interval: float) -> None:
    """Somebody may have meant milliseconds, or never: that must not end the service."""
    rules = Parking(sweep_interval=interval, give_up_after=0, attempts=ATTEMPTS)
    assert rules.park(None, 100, None).next_try == NOW + HOUR


@pytest.mark.parametrize("attempts", [1, 5, 50])
@pytest.mark.parametrize("hold", [0.0, 0.5, 600.0])
def test_a_hold_says_itself_when_to_try_again(hold: float, attempts: int) -> None:
    """What the endpoint asked for goes before the doubling."""
    assert RULES.park(None, attempts, hold).next_try == NOW + timedelta(seconds=hold)


def test_the_first_failure_is_remembered() -> None:
    """It is what CDR_GIVE_UP_AFTER counts from, so parking again must not move it."""
    first = RULES.park(None, 5, None)
    assert first == FailingRecord(NOW, 5, NOW + timedelta(seconds=60))
    long_ago = failing_since(NOW - HOUR)
    assert RULES.park(long_ago, 6, None) == FailingRecord(NOW - HOUR, 6, NOW + timedelta(seconds=120))


# When it is given up


def test_it_is_given_up_when_it_is_old_and_the_endpoint_takes_others() -> None:
    """Both: CDR_GIVE_UP_AFTER has passed, and another CDR was taken since its first failure."""
    first_failed_at = NOW - timedelta(days=1)
    assert RULES.gives_up(failing_since(first_failed_at), last_delivery_at=first_failed_at + HOUR)


@pytest.mark.parametrize(
    "last_delivery_at",
    [None, NOW - timedelta(days=3), NOW - timedelta(days=2)],
    ids=["nothing was ever taken", "nothing was taken since", "taken in the very moment of the first failure"],
)
def test_it_is_never_given_up_while_the_endpoint_takes_nothing(last_delivery_at: datetime | None) -> None:
    """A long outage, a wrong URL or a wrong credential dead-letters nothing."""
    assert not RULES.gives_up(failing_since(NOW - timedelta(days=2)), last_delivery_at)


def test_it_is_not_given_up_before_its_time() -> None:
    """A second less than CDR_GIVE_UP_AFTER is not enough."""
    young = failing_since(NOW - timedelta(days=1) + timedelta(seconds=1))
    assert not RULES.gives_up(young, last_delivery_at=NOW)


def test_what_fails_for_the_first_time_is_not_given_up() -> None:
    """Without a record there is no time that could have passed."""
    assert not RULES.gives_up(None, last_delivery_at=NOW)


def test_zero_means_never() -> None:
    """CDR_GIVE_UP_AFTER=0 keeps trying, however long."""
    never = Parking(sweep_interval=60, give_up_after=0, attempts=ATTEMPTS)
    assert not never.gives_up(failing_since(NOW - timedelta(days=3650)), last_delivery_at=NOW)


@pytest.mark.parametrize("seconds", [1e12, 1e15, 1e300])
def test_a_give_up_time_of_any_length_is_only_long(seconds: float) -> None:
    """Who writes a very large number means practically never, and not a crash."""
    rules = Parking(sweep_interval=60, give_up_after=seconds, attempts=ATTEMPTS)
    assert not rules.gives_up(failing_since(NOW - timedelta(days=3650)), last_delivery_at=NOW)


# What is remembered


def test_the_record_is_what_the_contract_says() -> None:
    """JSON with these three fields, times in ISO 8601 and UTC."""
    stored = json.loads(FailingRecord(NOW, 5, NOW + HOUR).to_json())
    assert stored == {
        "first_failed_at": "2024-05-06T07:08:09+00:00",
        "attempts": 5,
        "next_try": "2024-05-06T08:08:09+00:00",
    }


@given(MOMENTS, st.integers(0, 10**6), MOMENTS)
def test_a_record_reads_as_it_was_written(first_failed_at: datetime, attempts: int, next_try: datetime) -> None:
    """Nothing is lost on the way through Redis."""
    record = FailingRecord(first_failed_at, attempts, next_try)
    assert FailingRecord.from_json(record.to_json()) == record


def test_a_time_of_another_zone_is_understood() -> None:
    """A record that a person has edited may name any zone."""
    local = NOW.astimezone(timezone(timedelta(hours=2)))
    assert FailingRecord.from_json(FailingRecord(local, 5, local).to_json()) == FailingRecord(NOW, 5, NOW)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
TIMES: Final = JSON | st.datetimes().map(datetime.isoformat) | st.datetimes(timezones=st.timezones()).map(str)
ALMOST: Final = st.fixed_dictionaries(
    {}, optional={"first_failed_at": TIMES, "attempts": JSON, "next_try": TIMES}
) | st.fixed_dictionaries({"first_failed_at": TIMES, "attempts": JSON, "next_try": TIMES})


@given(st.binary() | (JSON | ALMOST).map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"first_failed_at": "0001-01-01", "attempts": 1, "next_try": "9999-12-31T23:59:59-23:59"}')
@example(b'{"first_failed_at": "2024-01-01", "attempts": Infinity, "next_try": "2024-01-01"}')
def test_no_record_is_an_error(stored: bytes) -> None:
    """Whatever stands in the hash, the CDR goes on: a damaged record must not stop the service."""
    record = FailingRecord.from_json(stored)
    assert record.next_try.tzinfo is UTC
    assert record.first_failed_at.tzinfo is UTC


@pytest.mark.parametrize("damaged", [b"", b"null", b"[]", b"{}", b"\xff", b'{"attempts": 3}', b'"2024-01-01"'])
def test_a_damaged_record_is_due_now(damaged: bytes) -> None:
    """Its CDR is tried at once, and not forgotten."""
    assert FailingRecord.from_json(damaged) == FailingRecord(NOW, 0, NOW)
