"""The ends of what the operator server takes: sizes, times, hosts, and content that only looks like a request."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.config.timings import Timings
from app.demo.embedded import free_port
from app.service import Service
from tests.support.harness import eventually, running
from tests.support.proxy import RedisProxy
from tests.support.world import World

TOKEN: Final = "token-of-sixteen-characters"
QUICK: Final = Timings(head_wait=1.0, body_wait=0.5, answer_wait=2.0, guess_pause=0.1, guess_queue=0.5, scan_queue=0.2)
DROP: Final = "/api/dead-letters/drop"
NO_NUMBER: Final[Any] = "whoever compares with it fails"
LARGEST_HEAD: Final = Timings().head_bytes
LARGEST_BODY: Final = Timings().body_bytes


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def timings(request: pytest.FixtureRequest) -> Timings:
    """Those of the service; a test may ask for others."""
    asked: Timings = getattr(request, "param", QUICK)
    return asked


@pytest.fixture
async def service(world: World, proxy: RedisProxy, port: int, timings: Timings) -> AsyncIterator[Service]:
    """A forwarder whose Redis may keep its replies back."""
    watched = world.with_variables(redis_url=proxy.url, ops_port=str(port), ops_host="127.0.0.1", ops_token=TOKEN)
    async with running(watched.settings, timings) as service:
        await eventually(service.parts.sources[0].lease.holds)
        yield service


@pytest.fixture
def told() -> Iterator[Callable[[str], list[Any]]]:
    """Return the events of a name."""
    with capture_logs() as logged:
        yield lambda name: [event for event in logged if event["event"] == name]


class Caller:
    """One connection, on which anything may be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says(self, *sent: bytes) -> bytes:
        """Send it, and return all that is answered until the server closes the connection; a reset ends it too."""
        self.writer.write(b"".join(sent))
        return await self.hears()

    async def hears(self) -> bytes:
        heard = b""
        try:
            async with asyncio.timeout(10):
                while piece := await self.reader.read(65536):
                    heard += piece
        except ConnectionResetError:
            pass
        return heard


Call = Callable[[], Awaitable[Caller]]


@pytest.fixture
async def call(service: Service, port: int) -> AsyncIterator[Call]:
    callers = []

    async def call() -> Caller:
        callers.append(Caller(*await asyncio.open_connection("127.0.0.1", port)))
        return callers[-1]

    yield call
    for caller in callers:
        caller.writer.close()


def request(path: str, method: str = "GET", body: bytes = b"", *, close: bool = True, **headers: str) -> bytes:
    fields = {"host": "localhost", "content-length": str(len(body)), "connection": "close" if close else "keep-alive"}
    named = fields | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}\r\n".encode("latin-1") for name, value in named.items()]
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method.encode(), path.encode(), b"".join(lines), body)


def dropping(body: bytes, **headers: str) -> bytes:
    given = {"content_type": "application/json", "authorization": f"Bearer {TOKEN}"} | headers
    return request(DROP, "POST", body, close=True, **given)


def status_of(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0


Told = Callable[[str], list[Any]]


# --- sizes


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request("/livez", x="y" * 8000), 200),
        (request("/livez", x="y" * (LARGEST_HEAD + 1)), 431),
        (request("/livez").replace(b"\r\n\r\n", b"\r\nx: y" * 5000 + b"\r\n\r\n"), 431),
        (request("/livez?" + "x" * LARGEST_HEAD), 431),
        (b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * (LARGEST_HEAD + 1), 431),
    ],
    ids=["small", "one long field", "many fields", "a long address", "unfinished"],
)
async def test_a_head_has_a_cap(call: Call, head: bytes, status: int) -> None:
    """On all of it; one that is over it is refused before it ends."""
    assert status_of(await (await call()).says(head)) == status


async def test_a_body_has_a_cap(call: Call) -> None:
    """Announced, or in chunks that never end."""
    assert status_of(await (await call()).says(dropping(b'{"ids": ["%b"]}' % (b"x" * LARGEST_BODY)))) == 413
    chunked = dropping(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    assert status_of(await (await call()).says(chunked, b"1000\r\n%b\r\n" % (b" " * 4096) * 17)) == 413


async def test_requests_at_once_are_answered_one_at_a_time(call: Call) -> None:
    """Thousands fit into a packet. The first is answered, and its connection closed, as HTTP allows."""
    heard = await (await call()).says(request("/livez", close=False) * 5000)
    assert heard.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in heard


async def test_a_connection_serves_many_requests(call: Call) -> None:
    """One after the other."""
    caller = await call()
    for _ in range(20):
        caller.writer.write(request("/livez", close=False))
        assert status_of(await caller.reader.readuntil(b"alive\n")) == 200


# --- times


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /livez HTTP/1.1\r\n", dropping(b"{}")[:-1], request("/livez", close=False)],
    ids=["nothing", "half a head", "half a body", "nothing more"],
)
async def test_what_does_not_end_is_closed(call: Call, sent: bytes) -> None:
    """A head, a body, or the pause between two requests."""
    async with asyncio.timeout(5):
        heard = await (await call()).says(sent)
    assert status_of(heard) == (200 if sent.startswith(b"GET /livez HTTP/1.1\r\nhost") else 0)


async def test_a_head_that_trickles_is_closed(call: Call) -> None:
    """Its time is that of the whole head: a byte now and then does not renew it."""
    caller = await call()
    began_at = asyncio.get_running_loop().time()

    async def is_closed() -> bool:
        caller.writer.write(b"x")
        return caller.reader.at_eof() or caller.reader.exception() is not None

    await eventually(is_closed, 5)
    assert asyncio.get_running_loop().time() - began_at < 3


async def test_an_answer_has_a_deadline(call: Call, proxy: RedisProxy) -> None:
    """Here Redis never comes to an end; the caller is told."""
    proxy.hold("LLEN")
    heard = await (await call()).says(request("/api/dead-letters", authorization=f"Bearer {TOKEN}"))
    assert status_of(heard) == 503
    assert heard.endswith(b"Redis does not answer in time\n")


async def test_one_reads_the_dead_letters_at_a_time(told: Told, call: Call, proxy: RedisProxy) -> None:
    """Who hangs up makes room at once: their scan ends."""
    proxy.hold("LLEN")
    first, second = await call(), await call()
    first.writer.write(request("/api/dead-letters", authorization=f"Bearer {TOKEN}"))
    await eventually(lambda: proxy.held["LLEN"])
    heard = await (await call()).says(request("/api/dead-letters", authorization=f"Bearer {TOKEN}"))
    assert status_of(heard) == 503
    assert b"another caller is reading dead letters" in heard
    assert proxy.seen["LLEN"] == 1
    first.writer.close()
    second.writer.write(request("/api/dead-letters", authorization=f"Bearer {TOKEN}"))
    await eventually(lambda: proxy.seen["LLEN"] == 2, 1)
    assert not told("operator_server.failed")


# --- too many


async def test_there_is_a_cap_on_connections(call: Call, service: Service, port: int) -> None:
    """The one that is idle for longest makes room, so that a question about our health is always answered."""
    first, *_ = [await call() for _ in range(65)]
    assert await first.hears() == b""
    assert status_of(await (await call()).says(request("/livez"))) == 200


async def test_who_acts_is_not_closed_for_others(call: Call, proxy: RedisProxy) -> None:
    """However many come meanwhile."""
    proxy.hold("LLEN")
    operator = await call()
    operator.writer.write(dropping(b'{"all": true}'))
    await eventually(lambda: proxy.held["LLEN"])
    strangers = [await call() for _ in range(100)]
    await strangers[30].hears()
    proxy.let_go("LLEN")
    assert status_of(await operator.hears()) == 200


async def test_wrong_tokens_are_judged_one_after_the_other(call: Call) -> None:
    """The right one waits for a few of them, and no longer."""
    guesses = [asyncio.create_task((await call()).says(dropping(b"{}", authorization="Bearer no"))) for _ in range(40)]
    await eventually(lambda: any(guess.done() for guess in guesses))
    began_at = asyncio.get_running_loop().time()
    assert status_of(await (await call()).says(dropping(b'{"all": true}'))) == 200
    assert asyncio.get_running_loop().time() - began_at < 2
    statuses = [status_of(await guess) for guess in guesses]
    assert set(statuses) == {401, 429}
    assert 1 <= statuses.count(401) <= 10


async def test_what_is_refused_is_told_once(told: Told, call: Call) -> None:
    """Not a line for each."""
    for _ in range(20):
        assert status_of(await (await call()).says(b"nonsense\r\n\r\n")) == 400
    [event] = told("operator_server.refused")
    assert (event["log_level"], event["reasons"]) == ("warning", {"Bad Request": 1})
    assert not told("library.reported")


@pytest.mark.parametrize("timings", [replace(QUICK, stuck=NO_NUMBER)], indirect=True)
async def test_a_mistake_of_ours_is_an_event(told: Told, call: Call) -> None:
    """The caller learns nothing of it, and many of them make one line."""
    for _ in range(20):
        heard = await (await call()).says(request("/livez"))
        assert status_of(heard) == 500
        assert b"Type" not in heard
    [event] = told("operator_server.failed")
    assert (event["log_level"], event["number"]) == ("error", 1)
    assert not told("library.reported")


# --- hosts


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "127.0.0.2", "a.localhost", "localhost."]
)
async def test_names_of_loopback_are_answered(call: Call, host: str) -> None:
    """Whatever the port: somebody may have forwarded another."""
    assert status_of(await (await call()).says(request("/livez", host=host))) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "", "[", "10.0.0.1"]
)
async def test_other_names_are_refused_on_loopback(call: Call, host: str) -> None:
    """A page of another site may have given its name our address (DNS rebinding)."""
    assert status_of(await (await call()).says(request("/api/status", host=host))) == 421


async def test_a_request_needs_one_host(told: Told, call: Call) -> None:
    """But for HTTP/1.0, which load balancers ask with."""
    assert status_of(await (await call()).says(b"GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n")) == 400
    twice = request("/livez").replace(b"\r\n\r\n", b"\r\nhost: localhost\r\n\r\n")
    assert status_of(await (await call()).says(twice)) == 400
    assert status_of(await (await call()).says(b"GET /livez HTTP/1.0\r\n\r\n")) == 200
    assert not told("library.reported")


# --- content


async def letters_left(client: Redis, key: str, number: int) -> bool:
    return await client.llen(key) == number


@pytest.mark.parametrize("more", [b"", b', "all": true', b', "endpoint": "webhook"'])
@pytest.mark.parametrize("action", ["drop", "replay"])
async def test_no_ids_are_of_no_letter(call: Call, client: Redis, dead: str, action: str, more: bytes) -> None:
    """A script whose list came out empty drops nothing."""
    await client.rpush(dead, json.dumps({"id": "cdr_1", "cdr": "one", "reason": "rejected"}))
    sent = dropping(b'{"ids": []%b}' % more).replace(b"/drop", b"/" + action.encode())
    assert b'{"done": 0, "more": false' in await (await call()).says(sent)
    assert await letters_left(client, dead, 1)


async def test_half_a_character_in_a_letter_is_an_answer(call: Call, client: Redis, dead: str) -> None:
    """JSON can hold half of a surrogate pair, which no UTF-8 has."""
    await client.rpush(dead, rb'{"id": "\ud800", "cdr": "one", "reason": "\udfff"}')
    _, _, listed = (await (await call()).says(request("/api/dead-letters", authorization=f"Bearer {TOKEN}"))).partition(
        b"\r\n\r\n"
    )
    assert json.loads(listed)["letters"][0]["id"] == "\ud800"
    shown = await (await call()).says(request("/api/dead-letters/%ED%A0%80", authorization=f"Bearer {TOKEN}"))
    assert status_of(shown) == 400
    assert status_of(await (await call()).says(dropping(rb'{"ids": ["\ud800"]}'))) == 200
    assert await letters_left(client, dead, 0)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (dropping(b'{"all": true}', content_type="application/json; charset=klingon"), 415),
        (dropping(b'{"all": true}', content_type='application/json; charset="UTF-8"'), 200),
        (dropping(b"not gzip", content_encoding="gzip"), 415),
        (dropping(gzip.compress(b" " * 10_000_000), content_encoding="gzip"), 415),
        (dropping(b'{"all": true}', content_encoding="rot13"), 415),
        (dropping(b"[" * 60_000), 400),
        (dropping(b"1" * 60_000), 400),
        (dropping(b"\xff\xfe"), 400),
        (dropping(rb'{"\ud800": 1}'), 400),
        (dropping(rb'{"endpoint": "\ud800"}'), 400),
        (dropping(rb'{"older_than": "\ud800"}'), 400),
        (request("/api/dead-letters?endpoint=%ED%A0%80&endpoint=%00", authorization=f"Bearer {TOKEN}"), 400),
        (request("/api/dead-letters/a%2Fb", authorization=f"Bearer {TOKEN}"), 400),
        (request("/livez", connection="upgrade", upgrade="websocket"), 200),
        (request("//livez"), 404),
        (request("/livez/"), 404),
        (request("/livez", "POST"), 405),
        (request("localhost:80", "CONNECT"), 400),
        (request("/caf\xe9".encode("latin-1").decode("latin-1")), 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
async def test_odd_content_is_an_answer(told: Told, call: Call, sent: bytes, status: int) -> None:
    """And no failure of ours."""
    assert status_of(await (await call()).says(sent)) == status
    assert not told("operator_server.failed")
    assert not told("library.reported")


async def test_answers_carry_their_headers(call: Call) -> None:
    """Also those to what is no request."""
    for sent in (request("/livez"), request("/nowhere"), b"nonsense\r\n\r\n", request("/livez", x="y" * LARGEST_HEAD)):
        head, _, _ = (await (await call()).says(sent)).lower().partition(b"\r\n\r\n")
        names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
        assert {b"content-security-policy", b"x-content-type-options", b"date", b"cache-control"} <= set(names)
        assert b"\r\nserver: cdr-forwarder\r\n" in head
        assert len(names) == len(set(names))


async def test_a_stop_waits_for_no_caller(service: Service, call: Call) -> None:
    """Idle, unfinished, or silent: they are closed."""
    callers = [await call() for _ in range(10)]
    callers[0].writer.write(b"GET /livez HTTP/1.1\r\n")
    callers[1].writer.write(request("/livez", close=False))
    await callers[1].reader.readuntil(b"alive\n")
    service.stop()
    async with asyncio.timeout(3):
        await asyncio.gather(*map(partial(Caller.hears), callers))
