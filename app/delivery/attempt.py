"""Make one attempt: build the request, send it, read the answer."""

from typing import Final

import httpx

from app.config.endpoint import EndpointSettings
from app.config.timings import Timings
from app.delivery.deadline import Deadline, Deadlines
from app.delivery.failures import TokenError, failure_kind, token_timeout
from app.delivery.headers import HeadersOfAttempt, headers_of_endpoint
from app.delivery.message import Message
from app.delivery.oauth2 import with_tokens
from app.delivery.reading import read
from app.delivery.transport import build_transport
from app.delivery.transport.request import Post, Target
from app.delivery.verdict import Kind, Verdict, verdict_of

KEPT_ANSWER_BYTES: Final = 512
TIMED_OUT: Final = Verdict(Kind.TRANSIENT, "timeout")


class Attempt:
    """Makes attempts at one webhook URL, with its own settings.

    `names_source`: whether a header says from which source the CDRs came.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        names_source: bool = False,
    ) -> None:
        self.name = settings.name
        self._deadlines = Deadlines(settings.timeout)
        self._reject_statuses = settings.reject_statuses
        self._transport = transport or with_tokens(build_transport(settings), settings, Timings())
        self._one = _Form(settings, names_source=names_source, counts=False)
        self._batch = _Form(settings, names_source=names_source, counts=True)

    async def post(self, message: Message) -> Verdict:
        """POST a message once, and judge what comes of it within the total deadline."""
        request, answer = self._request(message), b""
        response: httpx.Response | None = None
        try:
            with Deadline(self._deadlines):
                response = await self._transport.handle_async_request(request)
                answer = await read(response, KEPT_ANSWER_BYTES)
        except TimeoutError:
            if response is None:
                return _failed(token_timeout(request.awaits)) if request.awaits else TIMED_OUT
        except httpx.TransportError as error:
            if response is None:
                return _failed(error)
        return verdict_of(response, self._reject_statuses, answer)

    async def aclose(self) -> None:
        self._deadlines.close()
        await self._transport.aclose()

    def _request(self, message: Message) -> Post:
        form = self._one if message.cdrs is None else self._batch
        return Post(form.target, form.headers.values(message), message.body)


class _Form:
    """Holds what all requests of a kind have in common."""

    def __init__(self, settings: EndpointSettings, *, names_source: bool, counts: bool) -> None:
        url = httpx.URL(settings.url.get_secret_value())
        self.headers = HeadersOfAttempt(settings, names_source=names_source, counts=counts)
        same = headers_of_endpoint(settings, url, batch=counts)
        self.target = Target(url.copy_with(userinfo=b""), same, self.headers.names)


def _failed(error: httpx.TransportError) -> Verdict:
    advice = error.advice if isinstance(error, TokenError) else ""
    return Verdict(Kind.TRANSIENT, failure_kind(error), detail=str(error), advice=advice)
