"""Say in one sentence how an endpoint is doing, for somebody who has never seen this."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal

from app.delivery.certificate import ends_soon
from app.ops.report import EndpointReport

State = Literal["down", "failing", "held", "delivering", "retrying", "idle", "unknown"]

TROUBLE: Final[tuple[State, ...]] = ("down", "failing", "held")
"""The worst first."""

A_DAY: Final = timedelta(days=1)
NEVER: Final = datetime.min.replace(tzinfo=UTC)
EARLIEST: Final = datetime.max.replace(tzinfo=UTC)

HINTS: Final = dict.fromkeys(("401", "403"), "wrong secret or credentials?") | {
    **dict.fromkeys(("404", "405"), "wrong URL?"),
    "tls": "wrong or expired certificate?",
    "dns": "wrong host name?",
    "token": "no access token: its token server is down, or refuses us",
}
"""What to look at first, by what it fails with."""


@dataclass(frozen=True)
class Condition:
    """Holds the state of an endpoint, and the sentence that explains it."""

    state: State
    words: str
    certificate_ends_soon: bool = False


@dataclass(frozen=True)
class Waiting:
    """Counts CDRs in Redis: pending, all but the dead letters, deferred, and dead."""

    pending: int = 0
    all: int = 0
    deferred: int = 0
    dead: int = 0


def condition(reports: Sequence[EndpointReport], waiting: Waiting, now: datetime, zone: tzinfo = UTC) -> Condition:
    """Judge an endpoint by what each process reports of it, and by what waits for it. The worst is told first.

    `zone`: that of the times in the sentence.
    """
    states = [_state(report, waiting, now) for report in reports]
    for state in TROUBLE:
        if state in states:
            worst = [report for report, its in zip(reports, states, strict=True) if its == state]
            which = "" if len(worst) == len(reports) else f"for {len(worst)} of {len(reports)} processes "
            words = which + _trouble(state, worst, waiting, now.astimezone(zone))
            break
    else:
        state, words = _calm(states, reports, waiting)
    certificate = _certificate(reports, now)
    return Condition(state, _with_dead(words, waiting) + certificate, bool(certificate))


def clock(moment: datetime | None, now: datetime) -> str:
    """Write a time of day in the zone of `now`, and the date where that is another one; the zone only where it is UTC.

    A reader in another zone has chosen it, and knows it.
    """
    if moment is None:
        return "?"
    form = "%H:%M" if abs(now - moment) < A_DAY else "%Y-%m-%d %H:%M"
    return moment.astimezone(now.tzinfo).strftime(form if now.utcoffset() else f"{form} UTC")


def _state(report: EndpointReport, waiting: Waiting, now: datetime) -> State:
    if report.breaker in {"open", "half-open"}:
        return "down"
    if report.failing_since:
        return "failing"
    if report.hold_until and report.hold_until > now:
        return "held"
    if report.in_flight or waiting.pending:
        return "delivering"
    return "retrying" if waiting.deferred else "idle"


def _trouble(state: State, worst: Sequence[EndpointReport], waiting: Waiting, now: datetime) -> str:
    first = min(worst, key=lambda report: report.failing_since or EARLIEST)
    since = f"since {clock(first.failing_since, now)} ({_with_hint(first.failing_with or '?')})"
    if state == "down":
        is_gone = "gone (it answers 410; check its URL)" if first.gone else "down"
        return f"{is_gone} {since}, {_cdrs(waiting.all)} in Redis, next probe {_next_probe(worst, now)}"
    if state == "failing":
        return f"every attempt has failed {since}, {_cdrs(waiting.all)} in Redis"
    until = max(report.hold_until or now for report in worst)
    seconds = (until - now).total_seconds()
    return f"asked for time (Retry-After), {_cdrs(waiting.all)} in Redis, goes on in {seconds:.0f} s"


def _calm(states: Sequence[State], reports: Sequence[EndpointReport], waiting: Waiting) -> tuple[State, str]:
    again = f"{waiting.deferred:,} failed{_last_failure(reports)} and will be tried again"
    if not states:
        return "unknown", f"no forwarder reports on it, {_cdrs(waiting.all)} in Redis"
    if "delivering" in states:
        in_flight = sum(report.in_flight for report in reports)
        words = f"delivering, {in_flight:,} in flight, {waiting.pending:,} pending"
        return "delivering", f"{words}, {again}" if waiting.deferred else words
    if "retrying" in states:
        return "retrying", f"nothing new; {again}"
    return "idle", "idle: all is delivered, waiting for CDRs"


def _last_failure(reports: Sequence[EndpointReport]) -> str:
    """Say with what an attempt failed last; empty where no process that lives has seen one fail."""
    failed = [report for report in reports if report.failing_with]
    last = max(failed, key=lambda report: report.last_attempt_at or NEVER, default=None)
    return f" (last: {_with_hint(last.failing_with)})" if last else ""


def _with_hint(reason: str) -> str:
    return f"{reason}: {HINTS[reason]}" if reason in HINTS else reason


def _next_probe(worst: Sequence[EndpointReport], now: datetime) -> str:
    probes = [report.next_probe_at for report in worst if report.next_probe_at]
    seconds = (min(probes) - now).total_seconds() if probes else 0
    return f"in {seconds:.0f} s" if seconds >= 0.5 else "under way"  # noqa: PLR2004 - else it would read 0


def _cdrs(number: int) -> str:
    return "1 CDR waits" if number == 1 else f"{number:,} CDRs wait"


def _certificate(reports: Sequence[EndpointReport], now: datetime) -> str:
    """Say when it ends, if that is soon. The process that has connected last knows the newest one."""
    known = [report for report in reports if report.certificate_ends]
    last = max(known, key=lambda report: report.last_attempt_at or NEVER, default=EndpointReport())
    if not ends_soon(last.certificate_ends, now):
        return ""
    days = (last.certificate_ends - now).days if last.certificate_ends else 0
    return f"; its certificate ends in {days} {'day' if days == 1 else 'days'}: have it renewed"


def _with_dead(words: str, waiting: Waiting) -> str:
    if not waiting.dead:
        return words
    letters = "1 dead letter wants" if waiting.dead == 1 else f"{waiting.dead:,} dead letters want"
    return f"{words}; {letters} a decision"
