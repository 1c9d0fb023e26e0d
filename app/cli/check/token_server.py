"""Check that an endpoint's token server gives a token."""

import asyncio

from app.cli.check.finding import Finding, fail, ok
from app.config.endpoint import EndpointSettings
from app.delivery.failures import TokenError
from app.delivery.oauth2 import token_server


async def of_token_server(endpoint: EndpointSettings) -> Finding:
    """Ask it for one token, and throw that away."""
    server = token_server(endpoint)
    name = f"endpoint {endpoint.name}"
    try:
        grant = await server.ask()
    except TokenError as error:
        return fail(f"{name}: no access token: {error}", error.advice or "is it up, and OAUTH2_TOKEN_URL right?")
    finally:
        await server.aclose()
        await asyncio.sleep(0)  # what was closed really closes
    return ok(f"{name}: token server {server.place} gives an access token for {grant.lifetime:g} s")
