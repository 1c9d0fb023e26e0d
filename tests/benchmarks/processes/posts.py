"""POSTs by one client library and nothing else; prints the CPU seconds that one took.

Its arguments are the library, the URL, a file of whom to trust, the concurrency and the number.
"""

import asyncio
import resource
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvloop
from pydantic import SecretStr

from app.config.endpoint import EndpointSettings
from app.delivery.deadline import Deadline, Deadlines
from app.delivery.transport import build_transport
from app.delivery.transport.request import Post, Target
from tests.benchmarks.cdrs import USUAL, cdrs

Send = Callable[[bytes], Awaitable[int]]

HEADERS = [
    ("content-type", "application/json"),
    ("user-agent", "cdr-forwarder/1"),
    ("webhook-id", "cdr_0123456789abcdef0123456789abcdef"),
    ("webhook-timestamp", "1790000000"),
    ("webhook-attempt", "1"),
]
TIMEOUT = 15
WARM_UP = 20


@asynccontextmanager
async def _ours(url: str, ca_file: str, concurrency: int) -> AsyncIterator[Send]:
    settings = EndpointSettings(url=SecretStr(url), ca_file=Path(ca_file), concurrency=concurrency)
    fixed = [(b"host", httpx.URL(url).netloc), *((name.encode(), value.encode()) for name, value in HEADERS)]
    target, deadlines = Target(httpx.URL(url), fixed, [b"content-length"]), Deadlines(TIMEOUT)
    async with build_transport(settings) as transport:

        async def post(body: bytes) -> int:
            request = Post(target, (b"%d" % len(body),), body)
            with Deadline(deadlines):
                response = await transport.handle_async_request(request)
                if not isinstance(response.stream, httpx.ByteStream):  # else it is whole
                    await response.aread()
                    await response.aclose()
            return response.status_code

        yield post


@asynccontextmanager
async def _httpx(url: str, ca_file: str, concurrency: int) -> AsyncIterator[Send]:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    trusted = ssl.create_default_context(cafile=ca_file)
    async with httpx.AsyncClient(verify=trusted, limits=limits, timeout=TIMEOUT, trust_env=False) as client:

        async def post(body: bytes) -> int:
            return (await client.post(url, content=body, headers=HEADERS)).status_code

        yield post


@asynccontextmanager
async def _aiohttp(url: str, ca_file: str, concurrency: int) -> AsyncIterator[Send]:
    import aiohttp  # noqa: PLC0415 - only where it is measured

    connector = aiohttp.TCPConnector(limit=concurrency, ssl=ssl.create_default_context(cafile=ca_file))
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def post(body: bytes) -> int:
            async with session.post(url, data=body, headers=HEADERS) as answer:
                await answer.read()
                return answer.status

        yield post


@asynccontextmanager
async def _pyreqwest(url: str, ca_file: str, concurrency: int) -> AsyncIterator[Send]:
    from pyreqwest.client import ClientBuilder  # noqa: PLC0415 - only where it is measured

    trusted = Path(ca_file).read_bytes()  # noqa: ASYNC240 - before anything is measured
    builder = ClientBuilder().add_root_certificate_pem(trusted).max_connections(concurrency)
    async with builder.build() as client:

        async def post(body: bytes) -> int:
            answer = await client.post(url).headers(HEADERS).body_bytes(body).build().send()
            return answer.status

        yield post


LIBRARIES = {"ours": _ours, "httpx": _httpx, "aiohttp": _aiohttp, "pyreqwest": _pyreqwest}


async def _posts(post: Send, concurrency: int, number: int) -> float:
    bodies = list(cdrs(number, USUAL))
    before = _cpu_seconds()

    async def some() -> None:
        while bodies:
            status = await post(bodies.pop())
            assert status == 204, status

    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(some())
    return (_cpu_seconds() - before) / number


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main(library: str, url: str, ca_file: str, concurrency: int, number: int) -> None:
    async with LIBRARIES[library](url, ca_file, concurrency) as post:
        await _posts(post, concurrency, WARM_UP * concurrency)
        print(await _posts(post, concurrency, number))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
