"""Carry one HTTP request, under httpx's transport interface.

Ours (`direct`) on llhttp costs a tenth of httpx's own, and never takes an answer for that of another request; httpx's
own (`indirect`) knows proxies. Both raise the same errors at the same faults.
"""

from collections.abc import Callable

import httpx

from app.config.endpoint import EndpointSettings
from app.delivery.resolver import Resolver
from app.delivery.transport.direct import DirectTransport
from app.delivery.transport.tls import tell_ends, tls_context

__all__ = ["DirectTransport", "build_transport", "tls_context"]


def build_transport(
    endpoint: EndpointSettings, resolver: Resolver | None = None, on_certificate: Callable[[float], None] | None = None
) -> httpx.AsyncBaseTransport:
    """Make the transport of one endpoint; ConfigurationError if its certificates cannot be used.

    Several endpoints may share a resolver. `on_certificate` is called at each handshake, see `tell_ends`.
    """
    tls = tls_context(endpoint)
    if on_certificate:
        tell_ends(tls, on_certificate)
    if endpoint.proxy or endpoint.http_client == "httpx":
        from app.delivery.transport.indirect import IndirectTransport  # noqa: PLC0415 - 5 MiB that few need

        return IndirectTransport(endpoint, tls)
    return DirectTransport(endpoint, tls, resolver or Resolver())
