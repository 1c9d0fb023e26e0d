"""Many attempts against resets, cancellations and timeouts leave nothing behind."""

import asyncio
import gc
import os
import resource
import tracemalloc
from itertools import cycle
from pathlib import Path

import httpx

from tests.network.transport.client import OK, Client, request
from tests.support.harness import eventually
from tests.support.http_faults import Connection, serve

ATTEMPTS = int(os.environ.get("LEAK_ATTEMPTS", "1000"))
CONCURRENCY = 50


async def anything_goes(connection: Connection) -> None:
    """Answer, hang, reset, close, cut off and talk nonsense, by the number of the connection."""
    for number in range(connection.number % 7 + 1):
        await connection.request()
        match (connection.number + number) % 7:
            case 0:
                await connection.left()
            case 1:
                return connection.reset()
            case 2:
                return await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
            case 3:
                await connection.send(b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nabc")
                await connection.left()
            case 4:
                await connection.send(b"nonsense")
            case _:
                await connection.send(OK)
    return None


async def attempt(over: httpx.AsyncBaseTransport, url: str, deadline: float) -> None:
    response: httpx.Response | None = None
    try:
        async with asyncio.timeout(deadline):
            response = await over.handle_async_request(request(url))
            await response.aread()
    except (TimeoutError, httpx.TransportError):
        pass
    finally:
        if response is not None:
            await response.aclose()


async def attempts(over: httpx.AsyncBaseTransport, url: str, number: int) -> None:
    deadlines = iter([deadline for deadline, _ in zip(cycle((0.0, 0.001, 0.005, 0.02)), range(number), strict=False)])

    async def some() -> None:
        for deadline in deadlines:
            await attempt(over, url, deadline)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONCURRENCY):
            tasks.create_task(some())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left_behind(client: Client) -> None:
    """Descriptors, tasks and memory are after all attempts what they were after the first ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    async with serve(anything_goes) as server:
        before = descriptors()
        async with client.transport() as over:
            await attempts(over, server.url, 200)
            tasks = len(asyncio.all_tasks())
            tracemalloc.start()
            gc.collect()
            used, _ = tracemalloc.get_traced_memory()
            await attempts(over, server.url, ATTEMPTS)
            await server.until(lambda server: server.open_connections <= CONCURRENCY)
            server.requests.clear()
            await eventually(lambda: len(asyncio.all_tasks()) <= tasks + CONCURRENCY)
        await server.until(lambda server: server.open_connections == 0)
        await eventually(lambda: descriptors() <= before)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - used
        tracemalloc.stop()
    assert grown < 150 * ATTEMPTS, "bytes"
