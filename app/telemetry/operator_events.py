"""Tell what an operator has done, who it was (a host, or "page"), and with how many.

One function for each event. No CDR content, ever.
"""

import structlog
from structlog.typing import FilteringBoundLogger

log: FilteringBoundLogger = structlog.get_logger()


def dead_letters_replayed(source: str, endpoint: str, number: int, by: str, to: str) -> None:
    """Tell of CDRs that will be delivered to `to` now."""
    log.info("dead_letters.replayed", source=source, endpoint=endpoint, number=number, by=by, to=to or endpoint)


def dead_letters_dropped(source: str, endpoint: str, number: int, by: str) -> None:
    log.warning("dead_letters.dropped", source=source, endpoint=endpoint, number=number, by=by)


def cdrs_injected(source: str, number: int, by: str) -> None:
    log.info("cdrs.injected", source=source, number=number, by=by)


def cdrs_rerouted(source: str, endpoint: str, to: str, number: int, by: str) -> None:
    """Tell of CDRs and dead letters that were moved from `endpoint` to `to`."""
    log.info("cdrs.rerouted", source=source, endpoint=endpoint, to=to, number=number, by=by)


def endpoint_probed(endpoint: str, outcome: str, by: str) -> None:
    log.info("endpoint.probed", endpoint=endpoint, outcome=outcome, by=by)
