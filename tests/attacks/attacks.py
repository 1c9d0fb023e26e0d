"""The attacks: each takes a scene, and returns what it has seen."""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from socket import socket
from typing import Any, Final

from tests.attacks.scene import HEALTH, MIB, TOKEN, Scene
from tests.support.harness import eventually

LIST: Final = (
    f"GET /api/dead-letters HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
).encode()
FEW: Final = 110


async def idle_connections(scene: Scene) -> dict[str, Any]:
    """Open a thousand, where the process may have 256 descriptors, and say nothing."""
    with scene.connections() as connect:
        for _ in range(1000):
            connect()
        descriptors = scene.descriptors
        await scene.deliver()
        # The system tries connections that found no place again a second later, and a burst may close this one too.
        return {"health": await eventually(lambda: scene.status(HEALTH)), "descriptors": descriptors}


async def fat_unfinished_heads(scene: Scene) -> dict[str, Any]:
    """Send 110 heads of megabytes, in fields that are short enough one by one."""
    head = b"GET / HTTP/1.1\r\nhost: localhost\r\n" + (b"x: " + b"y" * 8000 + b"\r\n") * 320
    with scene.connections() as connect:
        await asyncio.gather(*(pour(connect(), head) for _ in range(FEW)))
        return {"health": await scene.status(HEALTH)}


async def requests_in_one_packet(scene: Scene) -> dict[str, Any]:
    """Send twenty thousand at once, on each of 60 connections."""
    with scene.connections() as connect:
        many = b"GET /livez HTTP/1.1\r\nhost:localhost\r\n\r\n" * 20_000
        await asyncio.gather(*(pour(connect(), many) for _ in range(60)))
        return {"health": await scene.status(HEALTH)}


async def requests_without_host(scene: Scene) -> dict[str, Any]:
    """Send six hundred of them, and as many that are no requests."""
    answers: Counter[int] = Counter()
    for _ in range(20):
        broken = [b"GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n", b"\x16\x03\x01\r\n\r\n"] * 15
        answers.update(await scene.ask(*broken))
    return {"answers": dict(answers)}


async def guesses(scene: Scene) -> dict[str, Any]:
    """Guess the token for four seconds: 30 wait for the answer, 4 hang up before it."""
    loop = asyncio.get_running_loop()
    ends_at, judged = loop.time() + 4, Counter[int]()

    async def guess() -> None:
        while loop.time() < ends_at:
            judged[await scene.status(dropping("no"))] += 1

    async def guess_and_leave() -> None:
        while loop.time() < ends_at:
            _, writer = await asyncio.open_connection("127.0.0.1", scene.port)
            writer.write(dropping("no"))
            writer.close()
            await scene.status(HEALTH)

    await asyncio.gather(*(guess() for _ in range(30)), *(guess_and_leave() for _ in range(4)))
    return {"judged": judged[401], "all": judged.total()}


async def large_dead_letters(scene: Scene) -> dict[str, Any]:
    """Ask sixteen times for a list of 150 letters of 1 MiB each, and hang up.

    With the token, since nobody else is answered: an operator's browser can do this too.
    """
    letter = json.dumps({"id": "cdr_1", "reason": "rejected", "cdr": "x" * MIB})
    for _ in range(150):
        await scene.client.rpush(scene.dead, letter)
    await scene.client.slowlog_reset()
    await scene.client.config_resetstat()
    with scene.connections() as connect:
        await asyncio.gather(*(pour(connect(), LIST) for _ in range(16)))
    await eventually(Quiet(scene), 10)
    answer = await scene.status(LIST)
    await scene.client.delete(scene.dead)
    return {"answer": answer}


class Quiet:
    """Tells whether nobody has read dead letters for a second."""

    def __init__(self, scene: Scene) -> None:
        self._client = scene.client
        self._reads = self._since = -1.0

    async def __call__(self) -> bool:
        now = asyncio.get_running_loop().time()
        reads = (await self._client.info("commandstats")).get("cmdstat_lrange", {"calls": 0})["calls"]
        if reads != self._reads:
            self._reads, self._since = reads, now
        return now - self._since > 1


async def pour(connection: socket, sent: bytes) -> None:
    """Send as much of it as is taken."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().sock_sendall(connection, sent)


def dropping(token: str) -> bytes:
    """Return a request that drops nothing."""
    body = b'{"ids": []}'
    head = (
        f"POST /api/dead-letters/drop HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
        f"connection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


ATTACKS: Final = (
    *(idle_connections, fat_unfinished_heads, requests_in_one_packet),
    *(requests_without_host, guesses, large_dead_letters),
)
