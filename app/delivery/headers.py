"""Write the headers of a request: those of every attempt at an endpoint, and those of one attempt."""

import time
from base64 import b64encode
from collections.abc import Iterator
from importlib.metadata import version
from secrets import randbelow
from typing import Final

import httpx

from app.config.endpoint import EndpointSettings
from app.config.headers import has_placeholders
from app.delivery.message import Message
from app.delivery.signature import signature
from app.delivery.transport.request import Header

USER_AGENT: Final = f"cdr-forwarder/{version('cdr-forwarder')}"


def headers_of_endpoint(settings: EndpointSettings, url: httpx.URL, *, batch: bool = False) -> list[Header]:
    """Return what is the same in each request to `url`.

    Those that the settings name replace ours: Content-Type and Authorization. The settings refuse to name others
    (`FIXED` in `config/headers.py`).
    """
    content_type = settings.batch_content_type if batch else settings.content_type
    headers = {"host": url.netloc.decode(), "content-type": content_type, "user-agent": USER_AGENT}
    if credentials := _authorization(settings, url):
        headers["authorization"] = credentials
    for name, value in _configured(settings).items():
        if has_placeholders(value):
            headers.pop(name, None)
        else:
            headers[name] = value.format()
    return [(name.encode(), value.encode()) for name, value in headers.items()]


class HeadersOfAttempt:
    """Makes the headers whose values differ from one request to the next.

    `names_source`: whether they tell where the CDRs came from; `counts`: and how many a batch holds.
    """

    def __init__(self, settings: EndpointSettings, *, names_source: bool, counts: bool) -> None:
        self._keys = settings.signing_keys
        self._names_source, self._counts = names_source, counts
        self._endpoint = settings.name
        self._templates = {name: value for name, value in _configured(settings).items() if has_placeholders(value)}
        optional = {
            b"webhook-signature": self._keys,
            b"webhook-source": names_source,
            b"webhook-count": counts,
        }
        more = [*(name for name, wanted in optional.items() if wanted), *(name.encode() for name in self._templates)]
        self._has_more = bool(more)
        last = (b"authorization",) if settings.oauth2_token_url else ()  # its value is not ours: the transport knows it
        self.names = (b"content-length", b"webhook-id", b"webhook-timestamp", b"webhook-attempt", *more, *last)

    def values(self, message: Message) -> tuple[bytes, ...]:
        """Return their values, in the order of `names`."""
        name, timestamp = message.webhook_id.encode(), b"%d" % time.time()
        values = (b"%d" % len(message.body), name, timestamp, b"%d" % message.attempt)
        return (*values, *self._more(message, name, timestamp)) if self._has_more else values

    def _more(self, message: Message, name: bytes, timestamp: bytes) -> Iterator[bytes]:
        if self._keys:
            yield signature(self._keys, name, timestamp, message.body)
        if self._names_source:
            yield message.source.encode()
        if self._counts:
            yield b"%d" % (message.cdrs or 0)
        if self._templates:
            values = self._placeholders(message, timestamp.decode())
            for template in self._templates.values():
                yield template.format_map(values).encode()

    def _placeholders(self, message: Message, timestamp: str) -> dict[str, object]:
        return {
            "webhook_id": message.webhook_id,
            "attempt": message.attempt,
            "timestamp": timestamp,
            "source": message.source,
            "endpoint": self._endpoint,
            "trace_id": message.webhook_id.rpartition("_")[2],
            "span_id": f"{randbelow(2**64 - 1) + 1:016x}",  # W3C Trace Context: never all zero
        }


def _configured(settings: EndpointSettings) -> dict[str, str]:
    return {name.lower(): value.get_secret_value() for name, value in settings.headers.items()}


def _authorization(settings: EndpointSettings, url: httpx.URL) -> str | None:
    if settings.bearer_token:
        return f"Bearer {settings.bearer_token.get_secret_value()}"
    username = settings.username or url.username
    password = settings.password.get_secret_value() if settings.password else url.password
    return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}" if username else None
