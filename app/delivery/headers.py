"""Write the headers of a request: those of every attempt at an endpoint, and those of one attempt."""

import time
from base64 import b64encode
from importlib.metadata import version
from typing import Final

import httpx

from app.config.endpoint import EndpointSettings
from app.delivery.message import Message
from app.delivery.signature import signature
from app.delivery.transport.request import Header

USER_AGENT: Final = f"cdr-forwarder/{version('cdr-forwarder')}"


def headers_of_endpoint(settings: EndpointSettings, url: httpx.URL) -> list[Header]:
    """Return what is the same in each request to `url`. Those that the settings name replace ours."""
    headers = {"host": url.netloc.decode(), "content-type": settings.content_type, "user-agent": USER_AGENT}
    if credentials := _authorization(settings, url):
        headers["authorization"] = credentials
    headers |= {name.lower(): value.get_secret_value() for name, value in settings.headers.items()}
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def names_of_attempt(keys: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the names of the headers that differ from request to request. `keys` sign it."""
    signed = (b"webhook-signature",) if keys else ()
    return (b"content-length", b"webhook-id", b"webhook-timestamp", b"webhook-attempt", *signed)


def values_of_attempt(message: Message, keys: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return their values, in the same order."""
    name, timestamp = message.webhook_id.encode(), b"%d" % time.time()
    values = (b"%d" % len(message.body), name, timestamp, b"%d" % message.attempt)
    return (*values, signature(keys, name, timestamp, message.body)) if keys else values


def _authorization(settings: EndpointSettings, url: httpx.URL) -> str | None:
    if settings.bearer_token:
        return f"Bearer {settings.bearer_token.get_secret_value()}"
    username = settings.username or url.username
    password = settings.password.get_secret_value() if settings.password else url.password
    return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}" if username else None
