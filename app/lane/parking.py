"""When a CDR that an endpoint did not take is tried again, and when it is given up."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

LONGEST_PARK: Final = 3600.0


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class FailingRecord:
    """What is remembered of a CDR that was EXHAUSTED, in the lane's `failing` hash."""

    first_failed_at: datetime
    attempts: int
    next_try: datetime

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), default=datetime.isoformat).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "FailingRecord":
        """Return the record; one that is damaged reads as due now, so that its CDR is not forgotten."""
        try:
            stored = json.loads(text)
            return cls(
                datetime.fromisoformat(stored["first_failed_at"]).astimezone(UTC),
                int(stored["attempts"]),
                datetime.fromisoformat(stored["next_try"]).astimezone(UTC),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return cls(now(), 0, now())


@dataclass(frozen=True)
class Parking:
    """The rules of one lane. All durations are seconds."""

    sweep_interval: float
    give_up_after: float
    attempts: int

    def park(self, failing: FailingRecord | None, attempts: int, wait: float | None) -> FailingRecord:
        """Return the record of a CDR that was EXHAUSTED after `attempts` in all.

        It is tried again after `wait` where that is known, else after a time that doubles with each try.
        """
        tries_while_parked = min(max(0, attempts - self.attempts), 20)
        doubled = min(self.sweep_interval * 2**tries_while_parked, LONGEST_PARK)
        delay = timedelta(seconds=doubled if wait is None else wait)
        return FailingRecord(failing.first_failed_at if failing else now(), attempts, now() + delay)

    def gives_up(self, failing: FailingRecord | None, last_delivery_at: datetime | None) -> bool:
        """Tell whether to stop trying: never while the endpoint takes nothing at all.

        A long outage, a wrong URL or a wrong credential would otherwise burn the whole backlog.
        """
        if failing is None or not self.give_up_after or last_delivery_at is None:
            return False
        old_enough = (now() - failing.first_failed_at).total_seconds() >= self.give_up_after
        return old_enough and last_delivery_at > failing.first_failed_at
