"""Whoever reaches the operator server, and has no token, cannot stop or slow deliveries: attacks on a real process."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis, free_port
from tests.support.forwarder import all_arrive, default_environment, is_told, is_up, numbered, owns_a_list, started_in
from tests.support.harness import Child, eventually
from tests.support.scripted import ScriptedReceiver

TOKEN: Final = "token-of-sixteen-characters"
DESCRIPTORS: Final = 256
HEALTH: Final = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
LIST: Final = b"GET /api/dead-letters HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
FEW: Final = 110


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def forwarder(
    redis_server: EmbeddedRedis, scripted: ScriptedReceiver, integrator: str, client: Redis, port: int, tmp_path: Path
) -> AsyncIterator[Child]:
    """A process with few descriptors, which connects to its endpoint anew for each CDR."""
    given = default_environment(redis_server.url, integrator, webhook_url=scripted.url, webhook_keep_alive="false")
    variables = given | {"CDR_OPS_PORT": str(port), "CDR_OPS_TOKEN": TOKEN}
    limited = ("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh")
    async with started_in(limited, tmp_path, variables) as forwarder:
        await owns_a_list(client, integrator)
        await eventually(lambda: _status(port, HEALTH))
        yield forwarder


@pytest.fixture
def connect(port: int) -> Iterator[Callable[[], socket.socket]]:
    """Open connections that say nothing by themselves; they are closed in the end."""
    with ExitStack() as opened:

        def connect() -> socket.socket:
            connection = opened.enter_context(socket.socket())
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.connect(("127.0.0.1", port))
            return connection

        yield connect


Deliver = Callable[[str], Awaitable[None]]


@pytest.fixture
def deliver(client: Redis, source: str, scripted: ScriptedReceiver) -> Deliver:
    """Have some CDRs delivered, at once."""

    async def deliver(name: str) -> None:
        cdrs = numbered(name, 50)
        await client.rpush(source, *cdrs)
        await all_arrive(scripted, cdrs, within=5)

    return deliver


async def _ask(port: int, *requests: bytes) -> list[int]:
    """Send requests, each on a connection of its own, at once; return the status of each answer, 0 for none."""
    return list(await asyncio.gather(*(_status(port, request) for request in requests)))


async def _status(port: int, request: bytes) -> int:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                answer = await reader.read(65536)
            finally:
                writer.close()
            return int(answer.split()[1]) if answer else 0
    return 0


def _memory(forwarder: Child) -> int:
    """Return the most memory that it ever had, in bytes."""
    lines = Path(f"/proc/{forwarder.process.pid}/status").read_text().splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) * 1024


def _descriptors(forwarder: Child) -> int:
    return len(list(Path(f"/proc/{forwarder.process.pid}/fd").iterdir()))


async def test_idle_connections_stop_no_delivery(
    forwarder: Child, connect: Callable[[], socket.socket], deliver: Deliver, port: int
) -> None:
    """A thousand of them, where the process may have 256 descriptors."""
    for _ in range(1000):
        connect()
    await deliver("beside a thousand")
    assert await _ask(port, HEALTH) == [200]
    assert _descriptors(forwarder) < DESCRIPTORS / 2
    await deliver("after that")
    assert [event["event"] for event in forwarder.events() if event["level"] == "error"] == []


async def test_fat_unfinished_heads_cost_no_memory(
    forwarder: Child, connect: Callable[[], socket.socket], deliver: Deliver, port: int
) -> None:
    """110 connections, each with a head of megabytes, in fields that are short enough one by one."""
    before = _memory(forwarder)
    head = b"GET / HTTP/1.1\r\nhost: localhost\r\n" + (b"x: " + b"y" * 8000 + b"\r\n") * 320
    await asyncio.gather(*(_pour(connect(), head) for _ in range(FEW)))
    await deliver("beside fat heads")
    assert await _ask(port, HEALTH) == [200]
    assert _memory(forwarder) - before < 24 * 2**20


async def _pour(connection: socket.socket, sent: bytes) -> None:
    """Send as much of it as is taken."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().sock_sendall(connection, sent)


async def test_requests_in_one_packet_cost_no_memory(
    forwarder: Child, connect: Callable[[], socket.socket], deliver: Deliver, port: int
) -> None:
    """A hundred thousand of them, on each of 60 connections."""
    before = _memory(forwarder)
    await asyncio.gather(
        *(_pour(connect(), b"GET /livez HTTP/1.1\r\nhost:localhost\r\n\r\n" * 20_000) for _ in range(60))
    )
    await deliver("beside many requests")
    assert await _ask(port, HEALTH) == [200]
    assert _memory(forwarder) - before < 24 * 2**20


async def test_requests_without_host_write_no_log(forwarder: Child, deliver: Deliver, port: int) -> None:
    """Nor do those that are no requests: a line tells of all."""
    before = forwarder.log.stat().st_size
    for _ in range(20):
        statuses = await _ask(
            port, *[b"GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n", b"\x16\x03\x01\r\n\r\n"] * 15
        )
        assert set(statuses) == {400}
    await deliver("meanwhile")
    assert (await is_told(forwarder, "operator_server.refused", within=5))["level"] == "warning"
    assert forwarder.log.stat().st_size - before < 2000
    assert "Traceback" not in forwarder.log.read_text()


async def test_a_token_cannot_be_guessed_quickly(forwarder: Child, deliver: Deliver, port: int) -> None:
    """Neither by those who wait for the answer, nor by those who hang up; and whoever has it is not kept out."""
    loop = asyncio.get_running_loop()
    ends_at, judged = loop.time() + 4, Counter[int]()

    async def guess() -> None:
        while loop.time() < ends_at:
            judged[await _status(port, _drop("no"))] += 1

    async def guess_and_leave() -> None:
        while loop.time() < ends_at:
            connection = await asyncio.open_connection("127.0.0.1", port)
            connection[1].write(_drop("no"))
            connection[1].close()
            await _ask(port, HEALTH)

    await asyncio.gather(*(guess() for _ in range(30)), *(guess_and_leave() for _ in range(4)), deliver("meanwhile"))
    assert judged[401] <= 10
    assert judged.total() < 400
    assert await _ask(port, _drop(TOKEN)) == [200]


def _drop(token: str) -> bytes:
    body = b'{"ids": []}'
    head = (
        f"POST /api/dead-letters/drop HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
        f"connection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def test_large_dead_letters_keep_redis_free(
    forwarder: Child, connect: Callable[[], socket.socket], deliver: Deliver, client: Redis, dead: str, port: int
) -> None:
    """Many ask for a list of them and hang up: that ends with them, and Redis answers others all the while."""
    letter = json.dumps({"id": "cdr_1", "reason": "rejected", "cdr": "x" * 2**20})
    for _ in range(150):
        await client.rpush(dead, letter)
    await client.config_resetstat()
    await client.config_set("slowlog-log-slower-than", 100_000)
    await client.slowlog_reset()
    askers = [connect() for _ in range(16)]
    await asyncio.gather(*(_pour(asker, LIST) for asker in askers))
    await deliver("beside the scan")
    for asker in askers:
        asker.close()
    await eventually(Quiet(client), 5)
    assert await client.slowlog_len() == 0
    assert is_up(forwarder)
    assert await _ask(port, LIST) == [200]


class Quiet:
    """Tells whether nobody has read dead letters for a second."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._reads = self._since = -1.0

    async def __call__(self) -> bool:
        now = asyncio.get_running_loop().time()
        reads = (await self._client.info("commandstats"))["cmdstat_lrange"]["calls"]
        if reads != self._reads:
            self._reads, self._since = reads, now
        return now - self._since > 1


async def test_a_page_of_another_site_reads_nothing(forwarder: Child, port: int) -> None:
    """By a name of its own that leads to loopback (DNS rebinding)."""
    foreign = [
        LIST.replace(b"localhost", host) for host in (b"evil.example", b"evil.example:%d" % port, b"localhost.evil")
    ]
    assert await _ask(port, *foreign) == [421, 421, 421]
    assert await _ask(port, LIST.replace(b"localhost", b"127.0.0.1:%d" % port)) == [200]
