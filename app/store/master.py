"""Find the master, where that can change."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from app.config.redis_url import Host, RedisPlace

Locate = Callable[[], Awaitable[Host]]

ANSWER_DEADLINE: Final = 2.0
"""Seconds for each server that is asked, before the next one is asked."""


def locator(place: RedisPlace, key: str, options: dict[str, Any]) -> Locate | None:
    """Return the function that finds the master for each new connection; None if it is always the same.

    All our keys are in one slot, so in a cluster only the master of `key` matters.
    `options`: what connections to sentinels, or to the nodes of a cluster, are made with.
    """
    options = {**options, "socket_timeout": ANSWER_DEADLINE, "socket_connect_timeout": ANSWER_DEADLINE}
    if place.kind == "sentinel":
        sentinels = Sentinel(place.seeds, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        return lambda: sentinels.discover_master(place.service)
    return _Cluster(place.seeds, key_slot(key.encode()), options).master if place.kind == "cluster" else None


class _Cluster:
    """Knows the nodes: those of the last answer come before those that were configured."""

    def __init__(self, seeds: Iterable[Host], slot: int, options: dict[str, Any]) -> None:
        self._seeds = tuple(seeds)
        self._nodes = self._seeds
        self._slot = slot
        self._options = options

    async def master(self) -> Host:
        for node in dict.fromkeys((*self._nodes, *self._seeds)):
            with suppress(RedisError, OSError):
                return await self._as_known_by(node)
        raise RedisConnectionError("no node of the cluster tells where the master is")

    async def _as_known_by(self, node: Host) -> Host:
        async with Redis(host=node[0], port=node[1], protocol=2, **self._options) as client:
            ask: Any = client.execute_command
            ranges: list[list[Any]] = await ask("CLUSTER SLOTS")
        for first, last, *servers in ranges:
            if first <= self._slot <= last:
                # No host: the node does not know its own, and means the one that it was asked by.
                hosts = [((host or node[0].encode()).decode(), port) for host, port, *_ in servers]
                self._nodes = tuple(hosts)
                return hosts[0]
        raise RedisConnectionError("nobody serves our slot of the cluster")


class _Located:
    """Asks where the master is before it connects."""

    locate: Locate
    host: str
    port: int

    async def connect(self) -> None:
        connection: Any = super()
        if not self.is_connected:  # type: ignore[attr-defined]
            self.host, self.port = await self.locate()
        await connection.connect()


def follow(client: Redis, locate: Locate) -> None:
    """Have each connection of a client made to where the master is then."""
    pool = client.connection_pool
    pool.connection_class = type(
        "LocatedConnection", (_Located, pool.connection_class), {"locate": staticmethod(locate)}
    )
