"""Check for settings that do not fit together."""

from collections.abc import Iterator
from typing import Final

from app.cli.check.finding import Finding, ok, warn
from app.config.endpoint import EndpointSettings
from app.config.settings import Settings
from app.config.timings import Timings
from app.config.values import redacted
from app.store.lease import RENEWALS_PER_LEASE, TRUSTED_PART

SHORTEST_LEASE: Final = round(Timings().reply_patience / (TRUSTED_PART - 1 / RENEWALS_PER_LEASE), 1)
"""Seconds: with a shorter lease, a single lost reply to a renewal may end it."""


def of_settings(settings: Settings) -> Iterator[Finding]:
    found = [
        *_of_lease(settings),
        *_of_redis_url(settings),
        *_of_idle(settings),
        *(one for endpoint in settings.endpoints for one in _of_endpoint(endpoint, settings)),
    ]
    yield from found or [ok("settings: they fit together")]


def _of_lease(settings: Settings) -> Iterator[Finding]:
    if settings.lease < SHORTEST_LEASE:
        yield warn(
            f"settings: CDR_LEASE is {settings.lease:g} s: one lost reply of Redis may cost it, and CDRs arrive twice",
            f"set it to {SHORTEST_LEASE:g} or more",
        )


def _of_redis_url(settings: Settings) -> Iterator[Finding]:
    for variable in dict.fromkeys(one.redis.url_variable for one in settings.sources if one.redis.trusts_any):
        yield warn(
            f"settings: {variable} has ssl_cert_reqs=none or ssl_check_hostname=false: "
            "another server could take the place of Redis",
            "remove these options, and set CDR_REDIS_CA_FILE to the CA of its certificate",
        )


def _of_idle(settings: Settings) -> Iterator[Finding]:
    if idle := settings.idle_endpoints:
        yield warn(
            f"settings: no source names {', '.join(idle)}: nothing is delivered there",
            "add it to CDR_SOURCES__<name>__ENDPOINTS of a source, or remove its variables",
        )


def _of_endpoint(endpoint: EndpointSettings, settings: Settings) -> Iterator[Finding]:
    url = endpoint.url.get_secret_value()
    if endpoint.timeout > settings.shutdown_grace:
        yield warn(
            f"endpoint {endpoint.name}: an attempt may last {endpoint.timeout:g} s, and CDR_SHUTDOWN_GRACE is "
            f"{settings.shutdown_grace:g} s: a stop cuts it off, and the CDR arrives twice",
            "give a stop more time than an attempt",
        )
    if endpoint.shows_secrets:
        yield warn(
            f"endpoint {endpoint.name}: {redacted(url)} is not encrypted: others may read CDRs and headers",
            "use https://",
        )
    if endpoint.shows_client_secret:
        yield warn(
            f"endpoint {endpoint.name}: OAUTH2_TOKEN_URL is not encrypted: others may read OAUTH2_CLIENT_SECRET",
            "use https://",
        )
    if not endpoint.tls_verify:
        yield warn(
            f"endpoint {endpoint.name}: TLS_VERIFY is false: another server could pose as it and get the CDRs",
            "name the authority of its certificate in CA_FILE, and leave TLS_VERIFY true",
        )
