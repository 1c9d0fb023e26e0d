"""Everything the service says: one function for each thing that happens.

info is normal, warning will recover by itself, error needs a person. No CDR content, ever.
"""

import logging
import time
from collections import deque
from typing import Any, Final, Literal

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from app.telemetry import stderr

Level = Literal["warning", "error"]

REPEATED: Final = 600.0
"""Seconds after which an error that lasts is told again."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

log: FilteringBoundLogger = structlog.get_logger()

recent: Final[deque[dict[str, Any]]] = deque(maxlen=50)
"""The last ones, for the status page; those of each single CDR, which are at debug, are left out."""


def configure(level: str, form: Literal["json", "console"]) -> None:
    """Write events of `level` and above to standard error, one line each.

    From then on, nothing that is written there can block or end the process: lines pass through a bounded queue.
    """
    stream = stderr.queued(lines_dropped)
    renderers: dict[str, list[Processor]] = {
        "json": [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        # Not the pretty traceback: it shows local variables, and those hold CDRs.
        "console": [
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ],
    }
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _remember,
            *renderers[form],
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Library(logging.WARNING)], force=True)


class _Library(logging.Handler):
    """Makes events of what libraries log, so that each line is one."""

    def emit(self, record: logging.LogRecord) -> None:
        library_reported(record)


def _remember(_: object, method: str, event: EventDict) -> EventDict:
    if method != "debug":
        recent.append({name: value for name, value in event.items() if name != "exc_info"})
    return event


def keep_silent() -> None:
    """Say nothing: a command tells the person who typed it, in a sentence."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def service_started(version: str, integrator: str, source: str, endpoints: dict[str, str]) -> None:
    log.info("service.started", version=version, integrator=integrator, source=source, endpoints=endpoints)


def lines_dropped(number: int) -> None:
    log.warning("log.dropped", number=number, advice="whoever reads standard error was too slow, or away")


def library_reported(record: logging.LogRecord) -> None:
    told = log.error if record.levelno >= logging.ERROR else log.warning
    told("library.reported", library=record.name, message=record.getMessage(), exc_info=record.exc_info)


def configuration_refused(problem: str) -> None:
    log.error("configuration.refused", problem=problem)


def redis_unusable(error: str) -> None:
    log.error("redis.unusable", error=error)


def redis_unverified() -> None:
    log.warning(
        "redis.unverified",
        advice="CDR_REDIS_URL has ssl_cert_reqs=none or ssl_check_hostname=false: others could take the place of Redis",
    )


def operator_token_unencrypted(address: str) -> None:
    log.warning(
        "operator_token.unencrypted",
        address=address,
        advice="the operator server has no TLS: others on the network may read CDR_OPS_TOKEN; "
        "set CDR_OPS_HOST to 127.0.0.1, or encrypt what is in front of it",
    )


def operator_server_unavailable(address: str, error: str, advice: str) -> None:
    log.error("operator_server.unavailable", address=address, error=error, advice=advice)


def operator_server_listening(address: str) -> None:
    log.info("operator_server.listening", address=address)


def operator_server_refused(number: int, reasons: dict[str, int]) -> None:
    log.warning(
        "operator_server.refused",
        number=number,
        reasons=reasons,
        advice="somebody sends what the operator server does not take; deliveries do not notice. Told once a minute",
    )


def operator_server_failed(number: int, exc_info: Any) -> None:
    log.error(
        "operator_server.failed",
        number=number,
        exc_info=exc_info,
        advice="a request could not be answered because of a mistake in cdr-forwarder: report it. Deliveries go on",
    )


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


def installation_differs(slot: int, host: str, differences: str) -> None:
    log.error(
        "installation.differs",
        slot=slot,
        host=host,
        differences=differences,
        advice="give all processes of this integrator the same configuration; normal while a change is rolled out",
    )


def source_shared(source: str, integrators: list[str]) -> None:
    log.error(
        "source.shared",
        source=source,
        integrators=integrators,
        advice="other forwarders take CDRs from the same list, and each CDR reaches only one of them: stop one",
    )


def redis_emptied() -> None:
    log.error(
        "redis.emptied",
        advice="Redis has lost what it had: CDRs may be missing. Look for a gap, and check its persistence",
    )


def key_has_wrong_type(key: str, wanted: str) -> None:
    log.error("key.wrong_type", key=key, wanted=wanted, advice="it is left alone; rename it, and see who writes it")


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


def cdr_deferred(endpoint: str, webhook_id: str, attempts: int, delay: float) -> None:
    log.debug("cdr.deferred", endpoint=endpoint, webhook_id=webhook_id, attempts=attempts, due_in=round(delay, 3))


def cdrs_rejected(endpoint: str, number: int, status: int | None) -> None:
    log.warning(
        "cdrs.rejected",
        endpoint=endpoint,
        number=number,
        status=status,
        advice="each is tried again after a minute; rejected again while others are accepted, it is a dead letter",
    )


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


def endpoint_held(endpoint: str, seconds: float) -> None:
    log.warning("endpoint.held", endpoint=endpoint, retry_after=round(seconds, 1))


class Outage:
    """Two lines: its start with the reason, and its end with how long it was. One that needs a person is repeated."""

    def __init__(self, start: str, end: str, level: Level = "warning", **fields: str) -> None:
        self._log = log.bind(**fields)
        self._names = (start, end)
        self._level = level
        self._since: float | None = None
        self._told_at = 0.0
        self.reason = ""

    def begin(self, error: str, level: Level | None = None) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self.reason = error
            self._level = level or self._level
        elif self._level != "error" or now - self._told_at < REPEATED:
            return
        self._told_at = now
        self._log.log(LEVELS[self._level], self._names[0], error=self.reason)

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


def endpoint_outage(endpoint: str, place: str) -> Outage:
    return Outage("endpoint.lost", "endpoint.back", endpoint=endpoint, place=place)


def refused_command(command: str, *, needs_person: bool) -> Outage:
    level: Level = "error" if needs_person else "warning"
    return Outage("redis.refused", "redis.accepted", level, command=command)
