"""Make connections to Redis."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.connection import DefaultParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.config.redis_login import RedisLogin
from app.config.source import Source
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


def connect(source: Source, reply_deadline: float | None, name: str) -> Redis:
    """Return a client that answers in bytes, never retries, and notices a dead connection before it uses it."""
    login = source.redis
    url = login.place.url
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
        **_given(username=login.username, password=_password(login)),
        **_tls(login),
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
    )
    if locate := locate_with(source):
        follow(client, locate)
    return client


def locate_with(source: Source) -> Locate | None:
    return locator(source.redis.place, source.key, _asking(source.redis))


def _given(**options: str | Path | None) -> dict[str, Any]:
    """Return those that are set: redis-py takes None for a value of its own."""
    return {name: value for name, value in options.items() if value is not None}


def _password(login: RedisLogin) -> str | None:
    return login.password.get_secret_value() if login.password else None


def _tls(login: RedisLogin) -> dict[str, Any]:
    if not login.place.url.startswith("rediss:"):
        return {}
    files = (login.ca_file, login.cert_file, login.key_file)
    return _given(**dict(zip(("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"), files, strict=True)))


def _asking(login: RedisLogin) -> dict[str, Any]:
    """Return what those are asked with who know the master: sentinels have a password of their own."""
    url = login.place.url
    tls = {"ssl": True, **_tls(login)} if url.startswith("rediss:") else {}
    if login.place.kind == "sentinel":
        sentinels = login.sentinel_password
        return {**_given(password=sentinels.get_secret_value() if sentinels else None), **tls}
    parts = urlsplit(url)
    username, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    logged_in = _given(username=username or login.username, password=password or _password(login))
    return {**logged_in, **tls}
