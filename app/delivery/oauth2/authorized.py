"""Put an access token on each POST."""

from collections.abc import Awaitable
from typing import Final, cast

import httpx

from app.delivery.oauth2.tokens import AccessToken, AccessTokens
from app.delivery.reading import read
from app.delivery.transport.request import Post

UNAUTHORIZED: Final = 401


class AuthorizedTransport(httpx.AsyncBaseTransport):
    """Sends a POST with the token that is at hand, and once more with a new one if the answer is 401."""

    def __init__(self, transport: httpx.AsyncBaseTransport, tokens: AccessTokens) -> None:
        self._transport, self._tokens = transport, tokens

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raise nothing but httpx.TransportError, of which TokenError is one."""
        post = cast("Post", request)
        token = self._tokens.at_hand() or await self._awaited(post, self._tokens.new())
        response = await self._transport.handle_async_request(post.with_more(token.header))
        if response.status_code != UNAUTHORIZED:
            return response
        if not self._tokens.may_replace(token):
            return response
        await read(response, 0)
        another = await self._awaited(post, self._tokens.instead_of(token))
        return await self._transport.handle_async_request(post.with_more(another.header))

    async def aclose(self) -> None:
        await self._tokens.aclose()
        await self._transport.aclose()

    async def _awaited(self, post: Post, token: Awaitable[AccessToken]) -> AccessToken:
        post.awaits = self._tokens.place
        found = await token
        post.awaits = ""
        return found
