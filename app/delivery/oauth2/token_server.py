"""Ask a token server for an access token."""

import asyncio
from base64 import b64encode
from typing import Final
from urllib.parse import quote_plus, urlencode

import httpx

from app.config.endpoint import EndpointSettings
from app.config.hosts import host_and_port
from app.delivery.failures import TokenError, failure_kind, in_words, token_timeout
from app.delivery.headers import USER_AGENT
from app.delivery.oauth2.token_answer import Grant, TokenAnswer
from app.delivery.outage import CERTIFICATE
from app.delivery.reading import read
from app.delivery.verdict import hold_of

HEADERS: Final = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "content-type": "application/x-www-form-urlencoded",
    "user-agent": USER_AGENT,
}

MOST_BYTES: Final = 32 * 1024


class TokenServer:
    """Asks for tokens with the client credentials of one endpoint.

    Id and secret go into the header (client_secret_basic), which every server must know. If it refuses them, they go
    into the body (client_secret_post) at once; what was accepted last comes first the next time.
    """

    def __init__(self, endpoint: EndpointSettings, transport: httpx.AsyncBaseTransport) -> None:
        url = endpoint.oauth2_token_url.get_secret_value() if endpoint.oauth2_token_url else ""
        secret = endpoint.oauth2_client_secret.get_secret_value() if endpoint.oauth2_client_secret else ""
        self.place = host_and_port(url)
        self._url = httpx.URL(url)
        self._login = {"client_id": endpoint.oauth2_client_id or "", "client_secret": secret}
        optional = {"scope": endpoint.oauth2_scope, "audience": endpoint.oauth2_audience}
        self._wanted = {"grant_type": "client_credentials"} | {name: it for name, it in optional.items() if it}
        self._transport = transport
        self._timeout = endpoint.timeout
        self._in_body = False

    async def ask(self) -> Grant:
        """Return a token. Raises TokenError, which says that it is the token server, where it is, and what it said."""
        try:
            async with asyncio.timeout(self._timeout):
                return (await self._answer()).grant()
        except TimeoutError:
            raise token_timeout(self.place) from None
        except TokenError as error:
            raise error.of(self.place) from None
        except httpx.TransportError as error:
            raise _failure(error).of(self.place) from None

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _answer(self) -> TokenAnswer:
        """Return the answer to the first of the two ways that it does not refuse; else that to the usual one."""
        first = await self._post(in_body=self._in_body)
        if not first.refuses_login:
            return first
        second = await self._post(in_body=not self._in_body)
        if second.refuses_login:
            return first
        self._in_body = not self._in_body
        return second

    async def _post(self, *, in_body: bool) -> TokenAnswer:
        headers, form = HEADERS, self._wanted
        if in_body:
            form = form | self._login
        else:
            login = ":".join(map(quote_plus, self._login.values()))  # RFC 6749, 2.3.1
            headers = headers | {"authorization": f"Basic {b64encode(login.encode()).decode()}"}
        request = httpx.Request("POST", self._url, headers=headers, content=urlencode(form).encode())
        response = await self._transport.handle_async_request(request)
        body = await read(response, MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise TokenError(f"its answer is longer than {MOST_BYTES // 1024} KiB")
        return TokenAnswer(response.status_code, body, hold_of(response.headers.get("retry-after")) or 0.0)


def _failure(error: httpx.TransportError) -> TokenError:
    kind = failure_kind(error)
    return TokenError(in_words(kind, str(error)), CERTIFICATE if kind == "tls" else "")
