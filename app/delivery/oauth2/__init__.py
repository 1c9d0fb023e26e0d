"""Show an endpoint an access token (RFC 6750), got from a token server with client credentials (RFC 6749, 4.4).

A failure of the token server is a TokenError: the endpoint was not asked, so nothing is known about the CDR.
"""

from collections.abc import Callable

import httpx

from app.config.endpoint import EndpointSettings
from app.config.timings import Timings
from app.delivery.oauth2.authorized import AuthorizedTransport
from app.delivery.oauth2.token_server import TokenServer
from app.delivery.oauth2.tokens import AccessTokens
from app.delivery.resolver import Resolver
from app.delivery.transport import build_transport

__all__ = ["token_server", "with_tokens"]


def token_server(endpoint: EndpointSettings, resolver: Resolver | None = None) -> TokenServer:
    """Make the client of an endpoint's token server, over a transport of its own with the same settings."""
    return TokenServer(endpoint, build_transport(endpoint, resolver))


def with_tokens(
    transport: httpx.AsyncBaseTransport,
    endpoint: EndpointSettings,
    timings: Timings,
    resolver: Resolver | None = None,
    is_probing: Callable[[], bool] = lambda: False,
) -> httpx.AsyncBaseTransport:
    """Return the transport; where the endpoint wants tokens, one that puts them on. `is_probing`: see AccessTokens."""
    if endpoint.oauth2_token_url is None:
        return transport
    tokens = AccessTokens(token_server(endpoint, resolver), timings, is_probing)
    return AuthorizedTransport(transport, tokens)
