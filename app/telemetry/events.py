"""Everything the service says: one function for each thing that happens.

info is normal, warning will recover by itself, error needs a person. No CDR content, ever.
"""

import logging
import sys
import time
from collections import deque
from typing import Any, Final, Literal

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

log: FilteringBoundLogger = structlog.get_logger()

recent: Final[deque[dict[str, Any]]] = deque(maxlen=50)
"""The last ones, for the status page; those of each single CDR, which are at debug, are left out."""


def configure(level: str, form: Literal["json", "console"]) -> None:
    """Write events of `level` and above to standard error, one line each."""
    renderers: dict[str, list[Processor]] = {
        "json": [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        # Not the pretty traceback: it shows local variables, and those hold CDRs.
        "console": [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)],
    }
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _remember,
            *renderers[form],
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _remember(_: object, method: str, event: EventDict) -> EventDict:
    if method != "debug":
        recent.append({name: value for name, value in event.items() if name != "exc_info"})
    return event


def keep_silent() -> None:
    """Say nothing: a command tells the person who typed it, in a sentence."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def service_started(version: str, integrator: str, source: str, endpoints: dict[str, str]) -> None:
    log.info("service.started", version=version, integrator=integrator, source=source, endpoints=endpoints)


def endpoint_unverified(endpoint: str) -> None:
    log.warning(
        "endpoint.unverified", endpoint=endpoint, advice="TLS_VERIFY is false: whoever answers in its place gets CDRs"
    )


def endpoint_unencrypted(endpoint: str) -> None:
    log.warning(
        "endpoint.unencrypted", endpoint=endpoint, advice="its secrets go over http://, where others may read them"
    )


def service_stopping(grace: float) -> None:
    log.info("service.stopping", grace=grace)


def service_stopped(exit_status: int) -> None:
    log.info("service.stopped", exit_status=exit_status)


def service_crashed(error: BaseException) -> None:
    log.error("service.crashed", exc_info=error)


def grace_exceeded(cut_off: int) -> None:
    log.warning("grace.exceeded", cut_off=cut_off, advice="they stay in processing, and are delivered again")


def slot_taken(number: int, processing: str) -> None:
    log.info("slot.taken", slot=number, processing=processing)


def slot_awaited(most: int) -> None:
    log.error("slot.awaited", most=most, advice="all slots have a live owner: run fewer processes")


def slot_lost(number: int) -> None:
    log.warning("slot.lost", slot=number, advice="its CDRs may be delivered twice")


def lease_expired(number: int) -> None:
    log.warning("lease.expired", slot=number, advice="Redis was away for longer than the lease; taken again")


def installation_differs(endpoints: list[str], theirs: list[str]) -> None:
    log.error(
        "installation.differs",
        endpoints=endpoints,
        theirs=theirs,
        advice="another process of this integrator has other endpoints; normal while a change is rolled out",
    )


def rights_missing(refusals: list[str]) -> None:
    log.error(
        "rights.missing", refusals=refusals, advice="grant the ACL user these commands; nothing is claimed before"
    )


def claim_reply_lost(endpoint: str) -> None:
    log.debug("claim.reply_lost", endpoint=endpoint, advice="the sweep looks for what it claimed")


def ack_found_nothing(endpoint: str, missing: int) -> None:
    log.warning(
        "ack.found_nothing", endpoint=endpoint, missing=missing, advice="delivered, and gone from processing before"
    )


def sweep_recovered(endpoint: str, recovered: int) -> None:
    log.info("sweep.recovered", endpoint=endpoint, recovered=recovered)


def cdrs_adopted(endpoint: str, slot: int, adopted: int) -> None:
    log.info("cdrs.adopted", endpoint=endpoint, from_slot=slot, adopted=adopted)


def attempt_failed(endpoint: str, webhook_id: str, attempt: int, result: str, status: int | None) -> None:
    log.debug("attempt.failed", endpoint=endpoint, webhook_id=webhook_id, attempt=attempt, result=result, status=status)


def cdr_delivered(endpoint: str, webhook_id: str, attempts: int) -> None:
    log.debug("cdr.delivered", endpoint=endpoint, webhook_id=webhook_id, attempts=attempts)


def cdr_parked(endpoint: str, webhook_id: str, attempts: int, next_try: str) -> None:
    log.debug("cdr.parked", endpoint=endpoint, webhook_id=webhook_id, attempts=attempts, next_try=next_try)


def cdr_dead_lettered(endpoint: str, webhook_id: str, reason: str, status: int | None, attempts: int) -> None:
    log.error(
        "cdr.dead_lettered", endpoint=endpoint, webhook_id=webhook_id, reason=reason, status=status, attempts=attempts
    )


def endpoint_gone(endpoint: str) -> None:
    log.error("endpoint.gone", endpoint=endpoint, advice="it answers 410: is the URL still right? tried every hour")


def bytes_unasked(endpoint: str) -> None:
    log.error(
        "endpoint.bytes_unasked",
        endpoint=endpoint,
        advice="it sent bytes that answer no request; set KEEP_ALIVE=false, so that they cannot be taken for an answer",
    )


def dead_letters_taken_back(endpoint: str, number: int) -> None:
    log.warning(
        "dead_letters.taken_back", endpoint=endpoint, number=number, advice="it rejects all: not for what they hold"
    )


def dead_letters_expired(endpoint: str, number: int) -> None:
    if number:
        log.info("dead_letters.expired", endpoint=endpoint, number=number)


def dead_letters_kept(endpoint: str, error: str) -> None:
    log.warning("dead_letters.kept", endpoint=endpoint, error=error, advice="they are past their age; tried every hour")


def endpoint_left_over(endpoint: str, waiting: int) -> None:
    log.warning(
        "endpoint.left_over",
        endpoint=endpoint,
        waiting=waiting,
        advice="it is not configured any more; cdr-forwarder reroute moves what waits for it",
    )


def lane_held(endpoint: str, seconds: float) -> None:
    log.warning("lane.held", endpoint=endpoint, retry_after=round(seconds, 1))


class Outage:
    """Two lines: its start with the reason, and its end with how long it was."""

    def __init__(self, start: str, end: str, level: Literal["warning", "error"] = "warning", **fields: str) -> None:
        self._log = log.bind(**fields)
        self._names = (start, end)
        self._level = LEVELS[level]
        self._since: float | None = None
        self.reason = ""

    def begin(self, error: str) -> None:
        if self._since is None:
            self._since = time.monotonic()
            self.reason = error
            self._log.log(self._level, self._names[0], error=error)

    @property
    def lasts(self) -> bool:
        return self._since is not None

    @property
    def seconds(self) -> float:
        """How long it has lasted; 0 where there is none."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def end(self, **fields: int) -> None:
        if self._since is not None:
            self._log.info(self._names[1], after=round(time.monotonic() - self._since, 3), **fields)
            self._since = None


def redis_outage() -> Outage:
    return Outage("redis.lost", "redis.back")


def endpoint_outage(endpoint: str) -> Outage:
    return Outage("endpoint.lost", "endpoint.back", endpoint=endpoint)


def refused_command(command: str, *, needs_person: bool) -> Outage:
    level: Literal["warning", "error"] = "error" if needs_person else "warning"
    return Outage("redis.refused", "redis.accepted", level, command=command)
