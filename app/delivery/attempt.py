"""Make one attempt: build the request, send it, read the answer."""

from contextlib import suppress
from typing import Final, cast

import httpx

from app.config.endpoint import EndpointSettings
from app.delivery.deadline import Deadline, Deadlines
from app.delivery.failures import failure_kind
from app.delivery.headers import HeadersOfAttempt, headers_of_endpoint
from app.delivery.message import Message
from app.delivery.transport import build_transport
from app.delivery.transport.request import Post, Target
from app.delivery.verdict import Kind, Verdict, verdict_of

MOST_ANSWER_BYTES: Final = 64 * 1024
KEPT_ANSWER_BYTES: Final = 512


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
        self._transport = transport or build_transport(settings)
        self._one = _Form(settings, names_source=names_source, counts=False)
        self._batch = _Form(settings, names_source=names_source, counts=True)

    async def post(self, message: Message) -> Verdict:
        """POST a message once, and judge what comes of it within the total deadline."""
        response: httpx.Response | None = None
        answer = b""
        try:
            with Deadline(self._deadlines):
                response = await self._transport.handle_async_request(self._request(message))
                answer = await _read(response)
        except TimeoutError:
            if response is None:
                return Verdict(Kind.TRANSIENT, "timeout")
        except httpx.TransportError as error:
            if response is None:
                return Verdict(Kind.TRANSIENT, failure_kind(error), detail=str(error))
        return verdict_of(response, self._reject_statuses, answer)

    async def aclose(self) -> None:
        self._deadlines.close()
        await self._transport.aclose()

    def _request(self, message: Message) -> Post:
        form = self._one if message.cdrs is None else self._batch
        return Post(form.target, form.headers.values(message), message.body)


class _Form:
    """What all requests of a kind have in common."""

    def __init__(self, settings: EndpointSettings, *, names_source: bool, counts: bool) -> None:
        url = httpx.URL(settings.url.get_secret_value())
        self.headers = HeadersOfAttempt(settings, names_source=names_source, counts=counts)
        same = headers_of_endpoint(settings, url, batch=counts)
        self.target = Target(url.copy_with(userinfo=b""), same, self.headers.names)


async def _read(response: httpx.Response) -> bytes:
    """Read a little of the answer, so that its connection can be used again; return its first bytes."""
    if isinstance(response.stream, httpx.ByteStream):  # it is whole, and its connection is free
        return b"".join(response.stream)[:KEPT_ANSWER_BYTES]
    kept, read = b"", 0
    try:
        async for chunk in cast("httpx.AsyncByteStream", response.stream):
            read += len(chunk)
            kept = (kept + chunk)[:KEPT_ANSWER_BYTES]
            if read > MOST_ANSWER_BYTES:
                break
    finally:
        with suppress(httpx.TransportError):
            await response.aclose()
    return kept
