"""Tell people of an endpoint's outage: one line when it begins, one when it ends."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from app.delivery.verdict import GONE, Kind, Verdict
from app.telemetry import events, outages
from app.telemetry.notices import Notices
from app.telemetry.subjects import DeadLetters
from app.telemetry.tally import Tally

WILL_PASS: Final = frozenset({408, 425, 429})
"""The statuses below 500 that recover by themselves."""

CREDENTIALS: Final = (
    "correct its secret or credentials: SECRET, BEARER_TOKEN, USERNAME, PASSWORD, HEADERS, CERT_FILE, OAUTH2_…"
)
URL: Final = "correct its URL; redirects are not followed"
ADVICE: Final = dict.fromkeys((401, 403, 407), CREDENTIALS) | dict.fromkeys((404, 405, GONE), URL)
CERTIFICATE: Final = "renew its certificate, or correct CA_FILE; `cdr-forwarder check` says more"
REJECTS_ALL: Final = "it rejects all CDRs: a wrong SECRET, or a bad deploy of the receiver; none becomes a dead letter"
ASK: Final = "ask the people who run the receiver"


class Outage:
    """Begins when the breaker opens, or after a minute of failures without a 2xx, and ends with a 2xx.

    If its failures begin to need a person, and do so for a minute, it is told once more, as an error.
    `place`: host and port; `waiting` returns how many CDRs wait for the endpoint; `patience`: seconds.
    """

    def __init__(self, endpoint: str, place: str, patience: float, waiting: Callable[[], int]) -> None:
        self.told = outages.endpoint_outage(endpoint, place)
        self._endpoint, self._place, self._patience, self._waiting = endpoint, place, patience, waiting
        self._failing_since = self._helpless_since = 0.0

    def inform(self, notices: Notices) -> None:
        """Let notices tell when it begins and ends."""
        self.told.listener = notices.endpoint(self._endpoint, self._place, self._waiting).cause("attempts")

    @property
    def seconds(self) -> float:
        """Return the seconds since the first failure of the outage that lasts; 0 where none does."""
        return time.monotonic() - self._failing_since if self.told.lasts else 0.0

    def note(self, verdict: Verdict, *, down: bool) -> None:
        """Take note of a failure. `down`: whether the breaker is not closed."""
        now, advice = time.monotonic(), advice_on(verdict)
        self._failing_since = self._failing_since or now
        self._helpless_since = (self._helpless_since or now) if advice else 0.0
        if self.told.lasts:
            self._worsen(verdict, advice, now)
        elif down or now - self._failing_since >= self._patience:
            self.told.begin(verdict.words, "error" if advice else "warning", **_given(advice))
            if verdict.status == GONE and down:
                events.endpoint_gone(self._endpoint)

    def end(self) -> None:
        self._failing_since = self._helpless_since = 0.0
        if self.told.lasts:
            self.told.end(waiting=self._waiting())

    def _worsen(self, verdict: Verdict, advice: str, now: float) -> None:
        if advice and self.told.level == "warning" and now - self._helpless_since >= self._patience:
            self.told.worsen(verdict.words, **_given(advice))


class Refusals:
    """Sums up, for one endpoint, what is rejected and what becomes a dead letter: a line a minute, and not one each."""

    def __init__(self, endpoint: str, seconds: float) -> None:
        self._rejected = Tally(lambda statuses: events.cdrs_rejected(endpoint, statuses), seconds)
        self._endpoint = endpoint
        self._notices: DeadLetters | None = None
        self._dead = Tally(self._tell_dead_letters, seconds)

    def inform(self, notices: Notices) -> None:
        """Let notices tell of dead letters."""
        self._notices = notices.dead_letters(self._endpoint)

    def rejected(self, verdict: Verdict) -> None:
        """Take note of a first rejection: it waits for a second one."""
        self._rejected.add(verdict.words)

    def dead_lettered(self, reason: str, verdict: Verdict) -> None:
        self._dead.add(f"{reason} ({verdict.words})")

    def close(self) -> None:
        """Tell what was not told yet."""
        self._rejected.close()
        self._dead.close()

    def _tell_dead_letters(self, reasons: Counter[str]) -> None:
        events.cdrs_dead_lettered(self._endpoint, reasons)
        if self._notices:
            self._notices.add(reasons)


def advice_on(verdict: Verdict) -> str:
    """Return what a person has to do; empty where the failure passes by itself."""
    status = verdict.status or 0
    if verdict.result == "tls":
        return CERTIFICATE
    if verdict.result == "token":
        return verdict.advice
    if verdict.result not in {"http_3xx", "http_4xx"} or status in WILL_PASS:
        return ""
    if verdict.kind is Kind.REJECTED:
        return REJECTS_ALL
    return ADVICE.get(status, URL if verdict.result == "http_3xx" else ASK)


def _given(advice: str) -> dict[str, str]:
    return {"advice": advice} if advice else {}
