"""Tell what happens to the process itself: configuration, start and stop, the operator server.

info is normal, warning will recover by itself, error needs a person. No secret, ever.
"""

from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

log: FilteringBoundLogger = structlog.get_logger()


def service_started(version: str, integrator: str, sources: dict[str, str], endpoints: dict[str, str]) -> None:
    log.info("service.started", version=version, integrator=integrator, sources=sources, endpoints=endpoints)


def configuration_refused(problem: str) -> None:
    log.error("configuration.refused", problem=problem)


def redis_unusable(error: str) -> None:
    log.error("redis.unusable", error=error)


def redis_unverified(variable: str) -> None:
    log.warning(
        "redis.unverified",
        variable=variable,
        advice="it has ssl_cert_reqs=none or ssl_check_hostname=false: another server could pose as Redis",
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
        advice="somebody sends requests that the operator server does not accept; deliveries are not affected",
    )


def operator_server_failed(number: int, exc_info: Any) -> None:
    log.error(
        "operator_server.failed",
        number=number,
        exc_info=exc_info,
        advice="a bug in cdr-forwarder, please report it: a request got no proper answer; deliveries are not affected",
    )


def endpoint_unverified(endpoint: str) -> None:
    log.warning(
        "endpoint.unverified",
        endpoint=endpoint,
        advice="TLS_VERIFY is false: another server could pose as it and get CDRs",
    )


def endpoint_unencrypted(endpoint: str) -> None:
    log.warning(
        "endpoint.unencrypted", endpoint=endpoint, advice="its secrets go over http://, where others may read them"
    )


def endpoints_idle(endpoints: list[str]) -> None:
    log.warning(
        "endpoint.idle",
        endpoints=endpoints,
        advice="no source names them, so they get nothing: add them to the ENDPOINTS of a source, or remove them",
    )


def service_stopping(grace: float) -> None:
    log.info("service.stopping", grace=grace)


def service_stopped(exit_status: int) -> None:
    log.info("service.stopped", exit_status=exit_status)


def service_crashed(error: BaseException) -> None:
    log.error("service.crashed", exc_info=error)


def grace_exceeded(cut_off: int) -> None:
    log.warning(
        "grace.exceeded",
        cut_off=cut_off,
        advice="their attempts were cut off; they stay in processing, and are delivered again",
    )
