"""The sample endpoint takes what a forwarder sends, and survives what it should not."""

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest

from app.demo.connection import LARGEST_BODY
from app.demo.sample_endpoint import Arrival, SampleEndpoint
from tests.support.harness import eventually

GOOD = b"POST /cdr HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
LAST = GOOD.replace(b"host: x", b"host: x\r\nconnection: close")
BROKEN = {
    "no HTTP at all": (b"hello\r\n\r\n", 400),
    "another method": (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 405),
    "no length": (b"POST / HTTP/1.1\r\nhost: x\r\n\r\n", 411),
    "chunks": (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411),
    "a negative length": (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
    "an endless length": (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    "too long a body": (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n", 413),
    "a header without colon": (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nnonsense\r\n\r\n", 400),
    "an endless head": (b"POST / HTTP/1.1\r\nx: " + b"x" * 200_000, 400),
}


async def talk(endpoint: SampleEndpoint, request: bytes) -> bytes:
    """Send bytes, and return all that comes until the endpoint hangs up."""
    where = urlsplit(endpoint.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_it_takes_bytes_as_they_are() -> None:
    """Body, id and attempt arrive unchanged; connections are kept."""
    arrivals: list[Arrival] = []
    bodies = [b'{"a": 1}', b"", b"\xff\x00\r\n\r\n", b"x" * 1_000_000]
    async with SampleEndpoint(arrivals.append) as endpoint, httpx.AsyncClient() as client:
        for number, body in enumerate(bodies):
            headers = {"webhook-id": f"cdr_{number}", "webhook-attempt": str(number + 1)}
            answer = await client.post(endpoint.url, content=body, headers=headers)
            assert answer.status_code == 204
    assert [(arrival.webhook_id, arrival.attempt, arrival.body) for arrival in arrivals] == [
        (f"cdr_{number}", number + 1, body) for number, body in enumerate(bodies)
    ]


async def test_it_counts_what_it_takes_and_what_it_refuses() -> None:
    async with SampleEndpoint() as endpoint, httpx.AsyncClient() as client:
        for endpoint.status in (503, 204, 204):
            answer = await client.post(endpoint.url, content=b"{}", headers={"webhook-id": "cdr_1"})
            assert answer.status_code == endpoint.status
        assert endpoint.taken == {"cdr_1": 2}
        assert endpoint.refused == 1


async def test_requests_may_follow_each_other_at_once() -> None:
    async with SampleEndpoint() as endpoint:
        answer = await talk(endpoint, GOOD + GOOD + LAST)
        assert answer.count(b"HTTP/1.1 204 No Content") == 3


@pytest.mark.parametrize(("request_bytes", "status"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_request_is_answered_and_hung_up_on(request_bytes: bytes, status: int) -> None:
    """And the endpoint goes on serving others."""
    async with SampleEndpoint() as endpoint:
        answer = await talk(endpoint, request_bytes)
        assert answer.split(maxsplit=2)[1] == b"%d" % status
        assert (await talk(endpoint, LAST)).startswith(b"HTTP/1.1 204")


async def test_who_sends_too_long_a_body_reads_the_refusal() -> None:
    """The connection is not reset under the answer."""
    async with SampleEndpoint() as endpoint, httpx.AsyncClient() as client:
        answer = await client.post(endpoint.url, content=bytes(LARGEST_BODY + 1))
        assert answer.status_code == 413
    assert not endpoint.refused


async def test_many_connections_at_once_are_answered() -> None:
    """None waits for another."""
    async with SampleEndpoint() as endpoint:
        endpoint.delay = 0.2
        answers = await asyncio.gather(*(talk(endpoint, LAST) for _ in range(300)))
    assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 204 No Content"}
    assert endpoint.taken.total() == 300


async def test_it_stops_while_somebody_waits_for_an_answer() -> None:
    """The waiting client sees its connection end."""
    async with SampleEndpoint() as endpoint, httpx.AsyncClient() as client, asyncio.TaskGroup() as tasks:
        endpoint.delay = 0.2
        post = tasks.create_task(_failing_post(client, endpoint.url))
        await eventually(lambda: endpoint.open)
        await endpoint.stop()
        assert isinstance(await post, httpx.TransportError)


async def _failing_post(client: httpx.AsyncClient, url: str) -> Exception | None:
    try:
        await client.post(url, content=b"{}")
    except httpx.TransportError as error:
        return error
    return None
