"""Make one attempt: build the request, send it, read the answer."""

import base64
import hashlib
import hmac
import time
from base64 import b64encode
from contextlib import suppress
from importlib.metadata import version
from typing import Final, cast

import httpx

from app.config.endpoint import EndpointSettings
from app.delivery.deadline import Deadline, Deadlines
from app.delivery.failures import failure_kind
from app.delivery.transport import build_transport
from app.delivery.transport.request import Post, Target
from app.delivery.verdict import Kind, Verdict, verdict_of

MOST_ANSWER_BYTES: Final = 64 * 1024
KEPT_ANSWER_BYTES: Final = 512

USER_AGENT: Final = f"cdr-forwarder/{version('cdr-forwarder')}".encode()

OWN_HEADERS: Final = (b"content-length", b"webhook-id", b"webhook-timestamp", b"webhook-attempt")
SIGNED_HEADERS: Final = (b"webhook-signature",)
"""Headers whose values differ from one attempt to the next."""


def signature(keys: tuple[bytes, ...], webhook_id: bytes, timestamp: bytes, body: bytes) -> bytes:
    """Sign as Standard Webhooks does (v1, HMAC-SHA256): one signature for each active secret."""
    signed = b".".join((webhook_id, timestamp, body))
    return b" ".join(b"v1," + b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys)


class Attempt:
    """Makes attempts at one webhook URL, with its own settings."""

    def __init__(self, settings: EndpointSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.name = settings.name
        self._deadlines = Deadlines(settings.timeout)
        self._reject_statuses = settings.reject_statuses
        self._keys = settings.signing_keys
        self._transport = transport or build_transport(settings)
        self._target = _target(settings)

    async def post(self, webhook_id: str, body: bytes, attempt: int) -> Verdict:
        """POST the bytes once, and judge what comes of it within the total deadline."""
        response: httpx.Response | None = None
        answer = b""
        try:
            with Deadline(self._deadlines):
                response = await self._transport.handle_async_request(self._post(webhook_id, body, attempt))
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

    def _post(self, webhook_id: str, body: bytes, attempt: int) -> Post:
        name, timestamp = webhook_id.encode(), b"%d" % time.time()
        values: tuple[bytes, ...] = (b"%d" % len(body), name, timestamp, b"%d" % attempt)
        if self._keys:
            values += (signature(self._keys, name, timestamp, body),)
        return Post(self._target, values, body)


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


def _target(settings: EndpointSettings) -> Target:
    url = httpx.URL(settings.url.get_secret_value())
    headers = {
        "host": url.netloc.decode(),
        "content-type": settings.content_type,
        "user-agent": USER_AGENT.decode(),
    }
    if credentials := _authorization(settings, url):
        headers["authorization"] = credentials
    headers |= {name.lower(): value.get_secret_value() for name, value in settings.headers.items()}
    own = OWN_HEADERS + SIGNED_HEADERS if settings.signing_keys else OWN_HEADERS
    return Target(
        url.copy_with(userinfo=b""), [(name.encode(), value.encode()) for name, value in headers.items()], own
    )


def _authorization(settings: EndpointSettings, url: httpx.URL) -> str | None:
    if settings.bearer_token:
        return f"Bearer {settings.bearer_token.get_secret_value()}"
    username = settings.username or url.username
    password = settings.password.get_secret_value() if settings.password else url.password
    if not username:
        return None
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
