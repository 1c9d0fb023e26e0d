"""Tell what happens to CDRs, endpoints and Redis: one function for each event.

info is normal, warning will recover by itself, error needs a person. No CDR content, ever.
"""

import logging
from collections import Counter
from datetime import datetime

import structlog
from structlog.typing import FilteringBoundLogger

log: FilteringBoundLogger = structlog.get_logger()


def lines_dropped(number: int) -> None:
    log.warning("log.dropped", number=number, advice="the reader of standard error was too slow, or gone")


def delivery_lines_dropped(number: int) -> None:
    log.warning(
        "delivery_log.dropped",
        number=number,
        advice="the reader of standard output was too slow, or gone; deliveries are not affected",
    )


def library_reported(record: logging.LogRecord) -> None:
    told = log.error if record.levelno >= logging.ERROR else log.warning
    told("library.reported", library=record.name, message=record.getMessage(), exc_info=record.exc_info)


def claim_reply_lost(source: str, endpoint: str) -> None:
    log.debug("claim.reply_lost", source=source, endpoint=endpoint, advice="the sweep looks for what it claimed")


def ack_found_nothing(source: str, endpoint: str, missing: int) -> None:
    log.warning(
        "ack.found_nothing",
        source=source,
        endpoint=endpoint,
        missing=missing,
        advice="they were delivered, but were already gone from processing",
    )


def sweep_recovered(source: str, endpoint: str, recovered: int) -> None:
    log.info("sweep.recovered", source=source, endpoint=endpoint, recovered=recovered)


def cdrs_adopted(source: str, endpoint: str, slot: int, adopted: int) -> None:
    log.info("cdrs.adopted", source=source, endpoint=endpoint, from_slot=slot, adopted=adopted)


def attempt_failed(  # noqa: PLR0913, PLR0917 - each is a field
    source: str, endpoint: str, webhook_id: str, attempt: int, result: str, status: int | None
) -> None:
    log.debug(
        "attempt.failed",
        source=source,
        endpoint=endpoint,
        webhook_id=webhook_id,
        attempt=attempt,
        result=result,
        status=status,
    )


def cdr_delivered(source: str, endpoint: str, webhook_id: str, attempts: int) -> None:
    log.debug("cdr.delivered", source=source, endpoint=endpoint, webhook_id=webhook_id, attempts=attempts)


def cdr_deferred(source: str, endpoint: str, webhook_id: str, attempts: int, delay: float) -> None:
    log.debug(
        "cdr.deferred",
        source=source,
        endpoint=endpoint,
        webhook_id=webhook_id,
        attempts=attempts,
        due_in=round(delay, 3),
    )


def cdrs_rejected(endpoint: str, statuses: Counter[str]) -> None:
    log.warning(
        "cdrs.rejected",
        endpoint=endpoint,
        number=statuses.total(),
        statuses=dict(statuses),
        advice="each is tried again after a minute; rejected again while others are accepted, it becomes a dead letter",
    )


def cdr_dead_lettered(  # noqa: PLR0913, PLR0917 - each is a field
    source: str, endpoint: str, webhook_id: str, reason: str, status: int | None, attempts: int
) -> None:
    log.debug(
        "cdr.dead_lettered",
        source=source,
        endpoint=endpoint,
        webhook_id=webhook_id,
        reason=reason,
        status=status,
        attempts=attempts,
    )


def cdrs_dead_lettered(endpoint: str, reasons: Counter[str]) -> None:
    log.error(
        "cdrs.dead_lettered",
        endpoint=endpoint,
        number=reasons.total(),
        reasons=dict(reasons),
        advice="they are kept: find out why with `cdr-forwarder dead-letters list`, and then replay or drop them",
    )


def endpoint_gone(endpoint: str) -> None:
    log.error("endpoint.gone", endpoint=endpoint, advice="it answers 410 Gone: check the URL; it is tried every hour")


def bytes_unasked(endpoint: str) -> None:
    log.error(
        "endpoint.bytes_unasked",
        endpoint=endpoint,
        advice="it sent bytes that answer no request; set KEEP_ALIVE=false, so that they cannot be taken for an answer",
    )


def dead_letters_expired(source: str, endpoint: str, number: int) -> None:
    if number:
        log.info("dead_letters.expired", source=source, endpoint=endpoint, number=number)


def dead_letters_kept(source: str, endpoint: str, error: str) -> None:
    log.warning(
        "dead_letters.kept",
        source=source,
        endpoint=endpoint,
        error=error,
        advice="they are past their age; the next try is in an hour",
    )


def certificate_ends(endpoint: str, ends: datetime) -> None:
    log.warning(
        "endpoint.certificate_ends",
        endpoint=endpoint,
        ends=ends.isoformat(timespec="seconds"),
        advice="its people must renew it; from then on nothing can be delivered",
    )


def endpoint_held(endpoint: str, seconds: float) -> None:
    log.warning("endpoint.held", endpoint=endpoint, retry_after=round(seconds, 1))
