"""Make connections to Redis."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.connection import DefaultParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.config.settings import Settings
from app.store.master import Locate, follow, locator

CONNECTIONS: Final = 1024
"""An upper limit; only a few are made for each endpoint."""


class CountingParser(DefaultParser):  # type: ignore[misc, valid-type]  # which parser it is depends on hiredis
    """Counts what it reads, so that a slow reply can be told from one that does not come."""

    reads = 0

    async def read_from_socket(self) -> bool:
        read = bool(await super().read_from_socket())
        self.reads += 1
        return read


def connect(settings: Settings, reply_deadline: float | None, name: str) -> Redis:
    """Return a client that answers in bytes, never retries, and notices a dead connection before it uses it."""
    url = settings.redis_place.url
    client = Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # with RESP3 an unread reply in a pooled connection goes unnoticed
        decode_responses=False,
        socket_timeout=reply_deadline,
        socket_connect_timeout=3.0,
        # A health check is a PING, with a reply of its own to wait for and to lose.
        health_check_interval=0,
        max_connections=CONNECTIONS,
        client_name=name,
        parser_class=CountingParser,
        **_given(username=settings.redis_username, password=_password(settings)),
        **_tls(settings),
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
    )
    if locate := locate_with(settings):
        follow(client, locate)
    return client


def locate_with(settings: Settings) -> Locate | None:
    return locator(settings.redis_place, settings.source_key, _asking(settings))


def _given(**options: str | Path | None) -> dict[str, Any]:
    """Return those that are set: redis-py takes None for a value of its own."""
    return {name: value for name, value in options.items() if value is not None}


def _password(settings: Settings) -> str | None:
    return settings.redis_password.get_secret_value() if settings.redis_password else None


def _tls(settings: Settings) -> dict[str, Any]:
    if not settings.redis_place.url.startswith("rediss:"):
        return {}
    files = (settings.redis_ca_file, settings.redis_cert_file, settings.redis_key_file)
    return _given(**dict(zip(("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"), files, strict=True)))


def _asking(settings: Settings) -> dict[str, Any]:
    """Return what those are asked with who know the master: sentinels have a password of their own."""
    url = settings.redis_place.url
    tls = {"ssl": True, **_tls(settings)} if url.startswith("rediss:") else {}
    if settings.redis_place.kind == "sentinel":
        sentinels = settings.redis_sentinel_password
        return {**_given(password=sentinels.get_secret_value() if sentinels else None), **tls}
    parts = urlsplit(url)
    username, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    logged_in = _given(username=username or settings.redis_username, password=password or _password(settings))
    return {**logged_in, **tls}
