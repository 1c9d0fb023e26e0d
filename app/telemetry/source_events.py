"""Tell what happens to a source as a whole: its slot, its Redis, and who else uses it.

One function for each event, which says what to do about it. No CDR content, ever.
"""

import structlog
from structlog.typing import FilteringBoundLogger

log: FilteringBoundLogger = structlog.get_logger()


def source_unusable(source: str, error: str) -> None:
    log.error(
        "source.unusable",
        source=source,
        error=error,
        advice="nothing of this source is delivered until that is changed; the other sources are not affected",
    )


def slot_taken(source: str, number: int, processing: str) -> None:
    log.info("slot.taken", source=source, slot=number, processing=processing)


def slot_awaited(source: str, most: int) -> None:
    log.error("slot.awaited", source=source, most=most, advice="all slots have a live owner: run fewer processes")


def slot_lost(source: str, number: int) -> None:
    log.warning(
        "slot.lost", source=source, slot=number, advice="another process has it; its CDRs may be delivered twice"
    )


def lease_expired(source: str, number: int) -> None:
    log.warning(
        "lease.expired",
        source=source,
        slot=number,
        advice="Redis was away for longer than the lease; the slot was taken again",
    )


def installation_differs(source: str, slot: int, host: str, differences: str) -> None:
    log.error(
        "installation.differs",
        source=source,
        slot=slot,
        host=host,
        differences=differences,
        advice="give all processes of this integrator the same configuration; normal while a change is rolled out",
    )


def source_shared(source: str, key: str, integrators: list[str]) -> None:
    log.error(
        "source.shared",
        source=source,
        key=key,
        integrators=integrators,
        advice="other forwarders take CDRs from the same list, and each CDR reaches only one of them: stop one",
    )


def redis_emptied(source: str) -> None:
    log.error(
        "redis.emptied",
        source=source,
        advice="Redis has lost what it had: CDRs may be missing. Look for a gap, and check its persistence",
    )


def key_has_wrong_type(source: str, key: str, wanted: str) -> None:
    log.error(
        "key.wrong_type",
        source=source,
        key=key,
        wanted=wanted,
        advice="the key is left alone: rename it, and find out who writes it",
    )


def rights_missing(source: str, refusals: list[str], place: str) -> None:
    log.error(
        "rights.missing",
        source=source,
        refusals=refusals,
        place=place,
        advice="grant the ACL user these commands: README, «In Redis», has the line; nothing is claimed until then",
    )


def endpoint_left_over(source: str, endpoint: str, waiting: int) -> None:
    log.warning(
        "endpoint.left_over",
        source=source,
        endpoint=endpoint,
        waiting=waiting,
        advice="it is no longer configured for this source; cdr-forwarder reroute moves what waits for it",
    )


def source_left_over(source: str, waiting: int) -> None:
    log.warning(
        "source.left_over",
        source=source,
        waiting=waiting,
        advice="it is no longer configured; configure it again under this name, and what waits is delivered",
    )
