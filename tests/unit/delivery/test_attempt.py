"""One attempt: what a receiver gets, and what is made of what it answers."""

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

import httpx
import pytest
import respx
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from app.cdr import webhook_id
from app.config.endpoint import EndpointSettings
from app.delivery.attempt import Attempt
from app.delivery.message import Message
from app.delivery.reading import MOST_ANSWER_BYTES
from app.delivery.verdict import Kind, Verdict
from tests.support.http_faults import (
    NO_CONTENT,
    Behaviour,
    Connection,
    answers,
    answers_then_closes,
    answers_then_hangs,
    closes_after_the_request,
    drips_for_ever,
    refused,
    sends_for_ever,
    serve,
)

URL: Final = "http://crm.example/hook"
BODY: Final = b'{"type": "cdr", "payload": {"number": "0825550142"}}'
ID: Final = webhook_id(BODY)
SECRETS: Final = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
DELIVERED: Final = Verdict(Kind.DELIVERED, "success", 200)
TIMED_OUT: Final = Verdict(Kind.TRANSIENT, "timeout")


def settings(url: str = URL, **overrides: Any) -> EndpointSettings:
    return EndpointSettings(url=SecretStr(url), **overrides)


@asynccontextmanager
async def endpoint(url: str, **overrides: Any) -> AsyncIterator[Attempt]:
    """An endpoint over real sockets."""
    made = Attempt(settings(url, **overrides))
    try:
        yield made
    finally:
        await made.aclose()


async def sent(url: str = URL, *, body: bytes = BODY, attempt: int = 1, **overrides: Any) -> httpx.Request:
    """Return the one request that an attempt makes."""
    router = respx.Router()
    route = router.post(url__regex=".*").respond(stream=httpx.ByteStream(b""), status_code=204)
    one = Attempt(settings(url, **overrides), httpx.MockTransport(router.async_handler))
    await one.post(Message(webhook_id(body), body, attempt, "cdr"))
    assert route.call_count == 1
    request: httpx.Request = route.calls.last.request
    return request


async def verdict_on(behaviour: Behaviour, **overrides: Any) -> Verdict:
    """Return the verdict on one attempt at a receiver that behaves so; it must come in time."""
    async with serve(behaviour) as server, endpoint(server.url, **overrides) as one, asyncio.timeout(20):
        return await one.post(Message(ID, BODY, 1, "cdr"))


# What is sent


async def test_the_headers_are_those_of_the_contract() -> None:
    """On the wire, exactly these, whatever the HTTP client would like to add."""
    before = int(time.time())
    async with serve(answers(NO_CONTENT)) as server, endpoint(server.url) as one:
        await one.post(Message(ID, BODY, 3, "cdr"))
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    request, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert before <= int(headers.pop("webhook-timestamp")) <= time.time()
    assert request == "POST /hook HTTP/1.1"
    assert body == BODY
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "content-type": "application/json",
        "user-agent": f"cdr-forwarder/{version('cdr-forwarder')}",
        "content-length": str(len(BODY)),
        "webhook-id": f"cdr_{hashlib.sha256(BODY).hexdigest()[:32]}",
        "webhook-attempt": "3",
    }
    assert len(lines) == len(headers) + 1


async def test_without_a_secret_there_is_no_signature() -> None:
    """Nothing pretends to be signed."""
    assert "webhook-signature" not in (await sent()).headers


@pytest.mark.parametrize("secrets", [SECRETS[:1], SECRETS], ids=["one secret", "two secrets"])
@pytest.mark.parametrize("body", [BODY, b"", "Zoë".encode()], ids=["a CDR", "empty", "not ASCII"])
async def test_every_active_secret_verifies(secrets: tuple[str, ...], body: bytes) -> None:
    """As Standard Webhooks has it, by its own library: secrets rotate without a gap."""
    request = await sent(body=body, secret=" ".join(secrets))
    assert len(request.headers["webhook-signature"].split()) == len(secrets)
    for secret in secrets:
        Webhook(secret).verify(request.content, dict(request.headers), json_parse=False)


async def test_another_secret_does_not_verify() -> None:
    """The signature is one of these bytes by this secret."""
    request = await sent(secret=SECRETS[0])
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRETS[1]).verify(request.content, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRETS[0]).verify(request.content + b" ", dict(request.headers))


@pytest.mark.parametrize(
    "body",
    [b"", b"not json {", b"\xff\xfe\x00\x80", b'  {"a":  1}\r\n', b"\r\n\r\n", b"0\r\n\r\n", b"x" * 1024 * 1024],
    ids=["empty", "not JSON", "not UTF-8", "white space", "line ends", "like a chunk", "1 MiB"],
)
async def test_odd_bodies_arrive_byte_for_byte(body: bytes) -> None:
    """The bytes are the body, with their length; nothing is re-encoded."""
    async with serve(answers(NO_CONTENT)) as server, endpoint(server.url) as one:
        assert (await one.post(Message(webhook_id(body), body, 1, "cdr"))).kind is Kind.DELIVERED
    assert server.requests[0].partition(b"\r\n\r\n")[2] == body


async def test_configured_headers_are_added() -> None:
    """A tenant, a key of an API gateway: sent as they are, beside ours."""
    request = await sent(headers={"X-Tenant": "acme", "authorization": "ApiKey 123"})
    assert (request.headers["x-tenant"], request.headers["authorization"]) == ("acme", "ApiKey 123")
    assert request.headers["webhook-id"] == ID


@pytest.mark.parametrize(
    "name", ["User-Agent", "webhook-id", "WEBHOOK-TIMESTAMP", "webhook-attempt", "Webhook-Signature"]
)
def test_configured_headers_cannot_take_the_place_of_ours(name: str) -> None:
    """A receiver can rely on them; it is said at start, and not ignored."""
    with pytest.raises(ValidationError, match="reserved"):
        settings(headers={name: "mine"})


@pytest.mark.parametrize("override", [{"content_type": "text/x"}, {"headers": {"Content-Type": "text/x"}}])
async def test_the_content_type_may_be_another(override: dict[str, Any]) -> None:
    """By its own variable or as a header; it is sent once."""
    request = await sent(**override)
    assert request.headers.get_list("content-type") == ["text/x"]


# Who we are


@pytest.mark.parametrize(
    ("url", "overrides", "credentials"),
    [
        (URL, {"username": "ann", "password": "s3cret"}, b"ann:s3cret"),
        (URL, {"username": "ann"}, b"ann:"),
        (URL, {"username": "ann", "password": "pässwörd:"}, "ann:pässwörd:".encode()),
        ("http://ann:s3cret@crm.example/hook", {}, b"ann:s3cret"),
        ("http://ann:p%40ss%2Fw%C3%B6rd@crm.example/hook", {}, "ann:p@ss/wörd".encode()),
        ("http://ann:old@crm.example/hook", {"username": "bob", "password": "new"}, b"bob:new"),
    ],
)
async def test_basic_authentication(url: str, overrides: dict[str, Any], credentials: bytes) -> None:
    """From USERNAME and PASSWORD, or from the URL with its escapes undone."""
    request = await sent(url, **overrides)
    assert request.headers["authorization"] == f"Basic {base64.b64encode(credentials).decode()}"


async def test_bearer_authentication() -> None:
    """BEARER_TOKEN as RFC 6750 has it."""
    assert (await sent(bearer_token="t0ken")).headers["authorization"] == "Bearer t0ken"


async def test_without_credentials_there_is_no_authorization() -> None:
    """Nothing is made up."""
    assert "authorization" not in (await sent()).headers


def with_user_info(url: str) -> str:
    return url.replace("//", "//ann:s3cret@") + "?tenant=7"


async def test_user_info_of_the_url_is_sent_as_a_header_only() -> None:
    """Not in the path, not as the host: there it would end in other people's logs."""
    async with serve(answers(NO_CONTENT)) as server, endpoint(with_user_info(server.url)) as one:
        assert (await one.post(Message(ID, BODY, 1, "cdr"))).kind is Kind.DELIVERED
    head = server.requests[0].partition(b"\r\n\r\n")[0].decode()
    assert head.startswith(f"POST /hook?tenant=7 HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n")
    assert "s3cret" not in head
    assert base64.b64encode(b"ann:s3cret").decode() in head


# What an answer means


@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a size\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["too short", "cut off in a chunk", "broken chunk", "not what its encoding says", "until it closes"],
)
async def test_a_2xx_counts_whatever_its_body(beginning: bytes) -> None:
    """It was taken: sending it again because of what follows would be a double."""
    assert await verdict_on(answers_then_closes(beginning)) == DELIVERED


async def test_a_2xx_whose_body_never_comes_counts() -> None:
    """The deadline ends the wait for it, and the status has decided already."""
    unfinished = answers_then_hangs(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    assert await verdict_on(unfinished, timeout=0.3) == DELIVERED


async def test_a_2xx_whose_body_drips_for_ever_counts_and_in_time() -> None:
    """The deadline is a total one: a byte now and then does not put it off."""
    assert await verdict_on(drips_for_ever, timeout=0.5) == DELIVERED


async def drips_after_500(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 500 Oops\r\nretry-after: 7\r\ncontent-length: 99999\r\n\r\n")
    while True:
        await connection.send(b".")
        await asyncio.sleep(0.01)


async def test_an_error_whose_body_drips_for_ever_is_that_error() -> None:
    """The status decides, and not the timeout that came after it; Retry-After is heard too."""
    assert await verdict_on(drips_after_500, timeout=0.5) == Verdict(Kind.TRANSIENT, "http_5xx", 500, 7)


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_without_a_whole_status_line_it_is_a_timeout(beginning: bytes) -> None:
    """A part of a status line is no answer; the total deadline covers that wait as well."""
    assert await verdict_on(answers_then_hangs(beginning), timeout=0.3) == TIMED_OUT


async def test_a_connection_that_ends_without_an_answer_has_no_status() -> None:
    """Nobody knows whether it was taken: it is sent again."""
    assert await verdict_on(closes_after_the_request) == Verdict(
        Kind.TRANSIENT, "connect", detail="closed by the other side"
    )


async def test_a_port_where_nobody_listens_is_transient() -> None:
    """A receiver that is being restarted."""
    with refused() as url:
        async with endpoint(url) as one:
            assert await one.post(Message(ID, BODY, 1, "cdr")) == Verdict(Kind.TRANSIENT, "connect", detail="refused")


@pytest.mark.parametrize(
    ("retry_after", "hold"), [("7", 7), ("99999", 600), ("soon", None), ("1\r\nretry-after: 2", None), ("", None)]
)
async def test_retry_after_reaches_the_verdict(retry_after: str, hold: float | None) -> None:
    """From the wire, sensible or not."""
    answer = f"HTTP/1.1 429 Slow\r\nretry-after: {retry_after}\r\ncontent-length: 0\r\n\r\n"
    assert await verdict_on(answers(answer.encode())) == Verdict(Kind.TRANSIENT, "http_4xx", 429, hold)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    """It would turn the POST into a GET, or send CDRs where nobody configured them to go."""
    answer = f"HTTP/1.1 {status} Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    async with serve(answers(answer.encode())) as server, endpoint(server.url) as one:
        assert await one.post(Message(ID, BODY, 1, "cdr")) == Verdict(Kind.TRANSIENT, "http_3xx", status)
    assert len(server.requests) == 1


# What becomes of the connection


def ok_with(size: int) -> Behaviour:
    return answers(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (size, b"." * size))


async def test_an_answer_of_a_usual_size_keeps_its_connection() -> None:
    """It is read to its end, and the next attempt goes the same way."""
    async with serve(ok_with(MOST_ANSWER_BYTES)) as server, endpoint(server.url) as one:
        assert [await one.post(Message(ID, BODY, attempt, "cdr")) for attempt in (1, 2, 3)] == [DELIVERED] * 3
    assert server.connections == 1


@pytest.mark.parametrize("behaviour", [sends_for_ever, ok_with(4 * 1024 * 1024)], ids=["endless", "4 MiB"])
async def test_a_huge_answer_is_not_drained(behaviour: Behaviour) -> None:
    """After 64 KiB its connection is closed, and the next attempt has a new one."""
    async with serve(behaviour) as server, endpoint(server.url) as one:
        assert await one.post(Message(ID, BODY, 1, "cdr")) == DELIVERED
        await server.until(lambda server: server.connections == 1 and server.open_connections == 0)
        assert await one.post(Message(ID, BODY, 2, "cdr")) == DELIVERED
    assert server.connections == 2


async def test_what_timed_out_leaves_no_connection_behind() -> None:
    """A late answer must not be taken for that of the next CDR."""
    async with serve(answers_then_hangs(b"")) as server, endpoint(server.url, timeout=0.2) as one:
        assert await one.post(Message(ID, BODY, 1, "cdr")) == TIMED_OUT
        await server.until(lambda server: server.connections == 1 and server.open_connections == 0)
