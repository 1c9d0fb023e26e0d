"""Several real Redis processes that know each other: a master that sentinels watch, and a cluster."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.crc import key_slot

from app.demo.embedded import EmbeddedRedis, free_port, is_free
from app.demo.leash import Leash
from app.demo.server_binary import find_server
from tests.support.harness import eventually

SERVICE: Final = "calls"
SLOTS: Final = 16384
BUS: Final = 10_000
"""A node of a cluster also listens so far above its port."""

EPHEMERAL: Final = 32_768
"""From here on, any port may be that of somebody's outgoing connection."""


def node_port() -> int:
    return next(port for port in iter(free_port, 0) if port + BUS < EPHEMERAL and is_free(port + BUS))


@dataclass
class Watched:
    """One master, one replica, three sentinels."""

    servers: list[EmbeddedRedis]
    url: str
    sentinels: list[tuple[str, int]] = field(default_factory=list)

    async def ask(self) -> int:
        """Return the port of the master, as the first sentinel knows it."""
        async with Redis(port=self.sentinels[0][1], protocol=2) as client:
            address: Any = await client.sentinel_get_master_addr_by_name(SERVICE)
            return int(address[1])


@asynccontextmanager
async def watched(directory: Path) -> AsyncIterator[Watched]:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(_server(directory / f"server-{number}")) for number in (1, 2)]
        await command(servers[1].port, "REPLICAOF", "127.0.0.1", str(servers[0].port))
        await eventually(lambda: linked(servers[1].port))
        ports = [stack.enter_context(_sentinel(directory / f"sentinel-{n}", servers[0].port)) for n in range(3)]
        sentinels = [("127.0.0.1", port) for port in ports]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        made = Watched(servers, f"redis+sentinel://{hosts}/{SERVICE}/0", sentinels)
        await eventually(lambda: _watch_each_other(ports))
        yield made


def _server(directory: Path, **options: str) -> EmbeddedRedis:
    directory.mkdir(parents=True)
    server = EmbeddedRedis(directory, port=node_port(), appendfsync="no")
    server.options |= {"repl_ping_replica_period": "1", "repl_diskless_sync_delay": "0", **options}
    return server


class _sentinel:  # noqa: N801 - a context manager
    def __init__(self, directory: Path, master: int) -> None:
        directory.mkdir()
        self.port = free_port()
        self._file = directory / "sentinel.conf"
        self._file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {master} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\nsentinel failover-timeout {SERVICE} 2000\n"
        )

    def __enter__(self) -> int:
        self._leash = Leash()
        with self._leash:
            self._process = subprocess.Popen(
                self._leash.on(find_server(), self._file, "--sentinel"),
                stdin=self._leash.childs_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self.port

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._leash.release()
        self._process.wait()


async def _watch_each_other(ports: Sequence[int]) -> bool:
    for port in ports:
        async with Redis(port=port, protocol=2) as client:
            masters: Any = await client.sentinel_masters()
            state = masters[SERVICE]
            if state["num-other-sentinels"] != len(ports) - 1 or state["num-slaves"] != 1:
                return False
    return True


@dataclass
class Cluster:
    """Three masters with a third of the slots each, and a replica of each."""

    masters: list[EmbeddedRedis]
    replicas: list[EmbeddedRedis]

    @property
    def nodes(self) -> list[EmbeddedRedis]:
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def number_of(self, key: str) -> int:
        """Return which of the masters had this key at first, and so which of the replicas follows it."""
        return key_slot(key.encode()) * len(self.masters) // SLOTS

    async def master_of(self, key: str) -> int:
        """Return the port of whoever serves this key, as those that live agree; 0 where they do not."""
        found = set()
        for node in self.nodes:
            if node.process.poll() is None:
                ranges: Any = await command(node.port, "CLUSTER SLOTS")
                found |= {master[1] for first, last, master, *_ in ranges if first <= key_slot(key.encode()) <= last}
        return found.pop() if len(found) == 1 else 0


@asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[Cluster]:
    options = {"cluster_enabled": "yes", "cluster_node_timeout": "1000", "cluster_require_full_coverage": "no"}
    async with AsyncExitStack() as stack:
        servers = [_server(directory / f"node-{number}", **options) for number in range(6)]
        await asyncio.gather(*map(stack.enter_async_context, servers))
        made = Cluster(servers[:3], servers[3:])
        for number, node in enumerate(made.masters):
            slots = range(-(-SLOTS * number // 3), -(-SLOTS * (number + 1) // 3))
            await command(node.port, "CLUSTER ADDSLOTS", *map(str, slots))
        for number, node in enumerate(made.nodes):
            await command(node.port, "CLUSTER SET-CONFIG-EPOCH", str(number + 1))
        for node in made.nodes[1:]:
            await command(node.port, "CLUSTER MEET", "127.0.0.1", str(servers[0].port))
        await eventually(lambda: _all_know(made, len(servers)))
        for master, replica in zip(made.masters, made.replicas, strict=True):
            await command(replica.port, "CLUSTER REPLICATE", (await command(master.port, "CLUSTER MYID")).decode())
        await eventually(lambda: _is_whole(made))
        yield made


async def command(port: int, *words: str) -> Any:
    async with Redis(port=port, protocol=2) as client:
        send: Any = client.execute_command
        return await send(*words)


async def linked(port: int) -> bool:
    async with Redis(port=port, protocol=2) as client:
        info: Any = await client.info("replication")
        return bool(info["role"] == "slave" and info["master_link_status"] == "up")


async def _all_know(made: Cluster, number: int) -> bool:
    infos: list[Any] = [await command(node.port, "CLUSTER INFO") for node in made.nodes]
    return all(int(info["cluster_known_nodes"]) == number and info["cluster_state"] == "ok" for info in infos)


async def _is_whole(made: Cluster) -> bool:
    infos: list[Any] = [await command(node.port, "CLUSTER INFO") for node in made.nodes]
    states = [info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(SLOTS) for info in infos]
    return all(states) and all([await linked(replica.port) for replica in made.replicas])
