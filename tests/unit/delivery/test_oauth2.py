"""Access tokens, against a real token endpoint and a receiver that accepts some tokens and not others."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from pydantic import SecretStr

from app.cdr import webhook_id
from app.config.endpoint import EndpointSettings
from app.config.timings import Timings
from app.delivery.attempt import Attempt
from app.delivery.message import Message
from app.delivery.oauth2 import with_tokens
from app.delivery.oauth2.token_answer import LONGEST_LIFETIME, USUAL_LIFETIME, TokenAnswer
from app.delivery.outage import CERTIFICATE
from app.delivery.transport import build_transport
from app.delivery.verdict import Kind, Verdict
from tests.support.certificates import Authority
from tests.support.harness import eventually, passed
from tests.support.http_faults import (
    Behaviour,
    answers_then_hangs,
    closes_after_the_request,
    is_an_http_proxy,
    refused,
    sends_for_ever,
    serve,
)
from tests.support.token_server import CLIENT, SECRET, Guarded, TokenEndpoint, answer, guarded, refusal, token_endpoint

CDR: Final = Message(webhook_id(b"x"), b"x", 1, "cdr")
DELIVERED: Final = Verdict(Kind.DELIVERED, "success", 204)
UNAUTHORIZED: Final = Verdict(Kind.TRANSIENT, "http_4xx", 401)
QUICK: Final = Timings(token_pause=0.05, longest_token_pause=0.2, token_replaced=0.5)
LOGIN: Final = "check OAUTH2_CLIENT_ID and OAUTH2_CLIENT_SECRET"
URL: Final = "check OAUTH2_TOKEN_URL; redirects are not followed"
ASK: Final = "ask the people who run the token server"


NO_LIFETIMES: Final[list[Any]] = [-5, 0, float("nan"), True, "soon", "-5", "", [3600], {}, "9" * 400]


def settings(url: str, token_url: str, **overrides: Any) -> EndpointSettings:
    given: dict[str, Any] = {"oauth2_client_id": CLIENT, "oauth2_client_secret": SecretStr(SECRET)} | overrides
    return EndpointSettings(url=SecretStr(url), oauth2_token_url=SecretStr(token_url), **given)


@asynccontextmanager
async def endpoint(
    url: str, token_url: str, *, is_probing: Callable[[], bool] = lambda: False, **overrides: Any
) -> AsyncIterator[Attempt]:
    given = settings(url, token_url, **overrides)
    attempt = Attempt(given, with_tokens(build_transport(given), given, QUICK, is_probing=is_probing))
    try:
        yield attempt
    finally:
        await attempt.aclose()


class Scene(NamedTuple):
    tokens: TokenEndpoint
    receiver: Guarded
    endpoint: Attempt


@asynccontextmanager
async def scene(*valid: str, tokens: dict[str, Any] | None = None, **overrides: Any) -> AsyncIterator[Scene]:
    """A receiver that accepts the tokens `valid`, a token server, and an endpoint between them."""
    async with (
        token_endpoint(**(tokens or {})) as server,
        guarded(*valid) as receiver,
        endpoint(receiver.url, server.url, **overrides) as one,
    ):
        yield Scene(server, receiver, one)


async def at_once(attempt: Attempt, number: int) -> list[Verdict]:
    return await asyncio.gather(*(attempt.post(CDR) for _ in range(number)))


def token_failure(place: str, said: str, advice: str = "") -> Verdict:
    return Verdict(Kind.TRANSIENT, "token", detail=f"token server {place}: {said}", advice=advice)


def place_of(url: str) -> str:
    return url.split("/")[2]


# One token for all


@pytest.mark.parametrize("client", ["direct", "httpx"])
async def test_attempts_show_the_token_that_was_granted(client: str) -> None:
    """RFC 6749, 4.4, and RFC 6750: asked for with id and secret, form-urlencoded in the header; sent as Bearer."""
    async with scene("token-1", http_client=client) as (tokens, receiver, one):
        assert [await one.post(CDR) for _ in range(3)] == [DELIVERED] * 3
    assert (tokens.asked, receiver.tokens) == (1, ["token-1"] * 3)
    assert tokens.forms == [{"grant_type": "client_credentials"}]


async def test_scope_and_audience_are_asked_for() -> None:
    """Where they are configured."""
    async with scene("token-1", oauth2_scope="a b", oauth2_audience="https://é") as (tokens, _receiver, one):
        assert await one.post(CDR) == DELIVERED
    assert tokens.forms == [{"grant_type": "client_credentials", "scope": "a b", "audience": "https://é"}]


async def test_many_attempts_at_once_ask_once() -> None:
    """They all wait for the same answer."""
    async with scene("token-1") as (tokens, _receiver, one):
        assert await at_once(one, 50) == [DELIVERED] * 50
    assert tokens.asked == 1


async def test_an_attempt_that_is_cancelled_does_not_end_the_wait_of_others() -> None:
    """The one that asked first may be cut off by a stop, or by its deadline."""
    async with token_endpoint() as tokens, guarded("token-1") as receiver:
        tokens.gate.clear()
        async with endpoint(receiver.url, tokens.url) as one:
            first, second = asyncio.create_task(one.post(CDR)), asyncio.create_task(one.post(CDR))
            await eventually(lambda: tokens.asked)
            first.cancel()
            await asyncio.wait([first])
            tokens.gate.set()
            assert await second == DELIVERED
            assert first.cancelled()
    assert tokens.asked == 1


async def test_a_server_that_takes_them_in_the_body_only_gets_them_there() -> None:
    """client_secret_post is tried where client_secret_basic is refused, and then remembered."""
    async with scene("token-1", "token-2", tokens={"takes_basic": False, "lifetime": 0.1}) as (tokens, _receiver, one):
        assert await one.post(CDR) == DELIVERED
        assert tokens.asked == 2
        await passed(0.1)
        assert await one.post(CDR) == DELIVERED
    assert tokens.asked == 3
    assert [form.get("client_secret") for form in tokens.forms] == [None, SECRET, SECRET]


# Renewing


async def test_a_token_is_renewed_before_it_ends_and_stops_nobody() -> None:
    """While the server takes its time, attempts go on with the token that is still good."""
    async with scene("token-1", "token-2", tokens={"lifetime": 0.8}) as (tokens, receiver, one):
        assert await one.post(CDR) == DELIVERED
        tokens.gate.clear()
        await passed(0.62)  # more than three quarters of its time
        assert await at_once(one, 5) == [DELIVERED] * 5
        await eventually(lambda: tokens.asked == 2)
        tokens.gate.set()
        await eventually(lambda: len(tokens.given) == 2)

        async def is_new() -> bool:
            return await one.post(CDR) == DELIVERED and receiver.tokens[-1] == "token-2"

        await eventually(is_new)
    assert receiver.tokens[1:6] == ["token-1"] * 5
    assert tokens.asked == 2


async def test_a_renewal_that_fails_stops_nobody_whose_token_is_good() -> None:
    """And it is tried again, with pauses."""
    async with scene("token-1", "token-2", tokens={"lifetime": 0.8}) as (tokens, _receiver, one):
        assert await one.post(CDR) == DELIVERED
        tokens.answers = answer(503, b"")
        await passed(0.62)
        assert await at_once(one, 5) == [DELIVERED] * 5
        await eventually(lambda: tokens.asked == 2)
        tokens.answers = b""
        await passed(0.06)
        assert await one.post(CDR) == DELIVERED
        await eventually(lambda: tokens.given == ["token-1", "token-2"])


async def test_a_storm_of_401_asks_for_one_new_token() -> None:
    """A server that revokes early: each attempt goes out once more with the new token, and none fails."""
    async with scene("token-1") as (tokens, receiver, one):
        assert await one.post(CDR) == DELIVERED
        receiver.valid = {"token-2"}
        assert await at_once(one, 40) == [DELIVERED] * 40
    assert tokens.asked == 2
    assert receiver.tokens.count("token-2") == 40


async def test_a_401_on_a_token_that_was_renewed_meanwhile_asks_for_no_other() -> None:
    """Its attempt was slow; the token of today is tried first."""
    async with scene("token-1") as (tokens, receiver, one):
        assert await one.post(CDR) == DELIVERED
        open_gate, receiver.gate = receiver.gate, asyncio.Event()
        slow = asyncio.create_task(one.post(CDR))
        await eventually(lambda: len(receiver.tokens) == 2)
        closed_gate, receiver.gate = receiver.gate, open_gate
        receiver.valid = {"token-2"}
        assert await one.post(CDR) == DELIVERED
        closed_gate.set()
        assert await slow == DELIVERED
        assert tokens.asked == 2
        assert receiver.tokens == ["token-1", "token-1", "token-1", "token-2", "token-2"]


async def test_an_endpoint_that_accepts_no_token_does_not_make_us_ask_for_each_cdr() -> None:
    """After one renewal its 401 is the verdict, and the server is asked now and then."""
    async with scene() as (tokens, _receiver, one):
        for _ in range(5):
            assert await at_once(one, 4) == [UNAUTHORIZED] * 4
        assert tokens.asked == 2
        await passed(0.5)
        assert await at_once(one, 20) == [UNAUTHORIZED] * 20
        assert tokens.asked == 3


async def test_a_revoked_token_that_cannot_be_replaced_is_the_token_servers_fault() -> None:
    """However often: the endpoint's 401 says nothing about the CDR, and nothing about the endpoint."""
    async with scene("token-1") as (tokens, receiver, one):
        assert await one.post(CDR) == DELIVERED
        receiver.valid = set()
        tokens.answers = answer(503, b"")
        verdicts = [*await at_once(one, 10), *await at_once(one, 10)]
        assert verdicts == [token_failure(place_of(tokens.url), "503")] * 20
        assert tokens.asked == 2
        receiver.valid, tokens.answers = {"token-2"}, b""
        await passed(0.06)
        assert await one.post(CDR) == DELIVERED


async def test_no_connection_is_left_behind_by_a_401() -> None:
    """Its answer is read to its end before the POST is sent again."""
    async with scene("token-1") as (_tokens, receiver, one):
        receiver.refusal = b"another token, please"
        assert await one.post(CDR) == DELIVERED
        receiver.valid = {"token-2"}
        assert await one.post(CDR) == DELIVERED
    assert receiver.connections == 1


# A token server that fails


@pytest.mark.parametrize(
    ("given", "said", "advice"),
    [
        (refusal(401, "invalid_client"), "401 invalid_client", LOGIN),
        (refusal(400, "invalid_client"), "400 invalid_client", LOGIN),
        (refusal(400, "invalid_scope"), "400 invalid_scope", "check OAUTH2_SCOPE"),
        (refusal(400, "invalid_target"), "400 invalid_target", "check OAUTH2_AUDIENCE"),
        (refusal(400, "s3cret words"), "400", ASK),
        (answer(401, b"<html>no</html>"), "401", LOGIN),
        (answer(403, b""), "403", LOGIN),
        (answer(404, b"<html>no</html>"), "404", URL),
        (answer(429, b""), "429", ""),
        (answer(302, b"", "location: /login"), "302", URL),
        (answer(500, b'{"error": ["x"]}'), "500", ""),
        (answer(503, b"<html>maintenance</html>"), "503", ""),
        (answer(200, b"<html>log in</html>"), "its answer is not JSON with a token", URL),
        (answer(200, b""), "its answer is not JSON with a token", URL),
        (answer(200, b'["token"]'), "its answer is not JSON with a token", URL),
        (answer(200, b"\xff\xfe"), "its answer is not JSON with a token", URL),
        (answer(200, b"[" * 30_000), "its answer is not JSON with a token", URL),
        (answer(200, b"9" * 30_000), "its answer is not JSON with a token", URL),
        (answer(200, b'{"error": "invalid_client"}'), "its answer has no access_token", URL),
        (answer(200, b'{"access_token": null}'), "its answer has no access_token", URL),
        (answer(200, b'{"access_token": ""}'), "its answer has no access_token", URL),
        (answer(200, b'{"access_token": {"a": 1}}'), "its answer has no access_token", URL),
        (answer(200, b"." * (10 << 20)), "its answer is longer than 32 KiB", ""),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"." * 70_000, "its answer is longer than 32 KiB", ""),
    ],
)
async def test_what_a_token_server_answers_is_told_in_our_words(given: bytes, said: str, advice: str) -> None:
    """That it is the token server, where it is, what it said, and what to do; nothing of what it sent."""
    async with scene(tokens={"answers": given}) as (tokens, receiver, one):
        assert await one.post(CDR) == token_failure(place_of(tokens.url), said, advice)
    assert receiver.tokens == []


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"token_type": "mac"}, "its token_type is not Bearer"),
        ({"token_type": ["Bearer"]}, "its token_type is not Bearer"),
        ({"token_type": ""}, "its token_type is not Bearer"),
        ({"access_token": "a\r\nx-evil: 1"}, "its access_token has characters that no header can hold"),
        ({"access_token": "a b"}, "its access_token has characters that no header can hold"),
        ({"access_token": "tokén"}, "its access_token has characters that no header can hold"),
        ({"access_token": "a\n"}, "its access_token has characters that no header can hold"),
        *(({"expires_in": wrong}, "its expires_in is no number of seconds above 0") for wrong in NO_LIFETIMES),
    ],
)
async def test_a_token_that_cannot_be_used_is_told(extra: dict[str, Any], said: str) -> None:
    """And not sent."""
    async with scene(tokens={"extra": extra}) as (tokens, receiver, one):
        assert await one.post(CDR) == token_failure(place_of(tokens.url), said, ASK)
    assert receiver.tokens == []


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3600, 3600.0),
        ("3600", 3600.0),
        (1.5, 1.5),
        (None, USUAL_LIFETIME),
        (10**30, LONGEST_LIFETIME),
        (10**400, LONGEST_LIFETIME),
        (float("inf"), LONGEST_LIFETIME),
    ],
)
def test_odd_lifetimes_are_understood(expires_in: object, seconds: float) -> None:
    """Text, none, and more than anybody can mean."""
    body = json.dumps({"access_token": "t", "expires_in": expires_in}).encode()
    assert TokenAnswer(200, body).grant().lifetime == seconds


async def test_without_a_lifetime_a_token_is_used_until_the_endpoint_refuses_it() -> None:
    """The RFC recommends `expires_in`, and no more; a `token_type` is often missing too."""
    given = answer(200, b'{"access_token": "token-1"}')
    async with scene("token-1", tokens={"answers": given}) as (tokens, _receiver, one):
        assert [await one.post(CDR) for _ in range(2)] == [DELIVERED] * 2
    assert tokens.asked == 1


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (closes_after_the_request, "closed by the other side"),
        (answers_then_hangs(b"HTTP/1.1 2"), "timeout"),
        (answers_then_hangs(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"), "timeout"),
        (answers_then_hangs(b"SSH-2.0-x\r\n\r\n"), "the answer is cut off, or not HTTP/1.x"),
        (sends_for_ever, "its answer is longer than 32 KiB"),
    ],
)
async def test_a_token_server_that_breaks_is_told(behaviour: Behaviour, said: str) -> None:
    """Within the deadline of the attempt; it is nobody's fault but the token server's."""
    async with (
        serve(behaviour) as server,
        guarded() as receiver,
        endpoint(receiver.url, server.url, timeout=0.3) as one,
        asyncio.timeout(5),
    ):
        assert await one.post(CDR) == token_failure(place_of(server.url), said)
    assert receiver.tokens == []


async def test_a_token_server_that_is_down_is_told() -> None:
    with refused() as token_url:
        async with guarded() as receiver, endpoint(receiver.url, token_url) as one:
            assert await one.post(CDR) == token_failure(place_of(token_url), "refused")


async def test_a_token_server_with_a_foreign_certificate_is_told(tmp_path: Path) -> None:
    """It is verified by the same CA_FILE as the endpoint."""
    authority = Authority(tmp_path)
    given = answer(200, b'{"access_token": "token-1"}')
    async with serve(answers_once(given), authority.server()) as server, guarded("token-1") as receiver:
        async with endpoint(receiver.url, server.url) as one:
            verdict = await one.post(CDR)
        assert (verdict.result, verdict.advice) == ("token", CERTIFICATE)
        assert verdict.words.startswith(f"token server {place_of(server.url)}: tls: ")
        async with endpoint(receiver.url, server.url, ca_file=authority.ca_file) as one:
            assert await one.post(CDR) == DELIVERED


async def test_a_token_server_gets_the_client_certificate(tmp_path: Path) -> None:
    """CERT_FILE and KEY_FILE, as the endpoint does."""
    authority = Authority(tmp_path)
    certificate, key = authority.client_files()
    given = answer(200, b'{"access_token": "token-1"}')
    context = authority.server(asks_for_a_certificate=True)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serve(answers_once(given), context) as server, guarded("token-1") as receiver:
        files: dict[str, Any] = {"ca_file": authority.ca_file, "cert_file": certificate, "key_file": key}
        async with endpoint(receiver.url, server.url, **files) as one:
            assert await one.post(CDR) == DELIVERED


def answers_once(given: bytes) -> Behaviour:
    async def behave(connection: Any) -> None:
        await connection.request()
        await connection.send(given)
        await connection.left()

    return behave


async def test_the_proxy_leads_to_the_token_server_too() -> None:
    """PROXY is for all requests of an endpoint."""
    async with token_endpoint() as tokens, serve(is_an_http_proxy) as proxy, guarded("token-1") as receiver:
        address = f"http://127.0.0.1:{proxy.port}"
        async with endpoint(receiver.url, tokens.url, proxy=SecretStr(address)) as one:
            verdict = await one.post(CDR)
    # This proxy answers 204 to plain requests by itself, and that is an answer without a token.
    assert verdict == token_failure(place_of(tokens.url), "its answer is not JSON with a token", URL)
    assert proxy.requests[0].startswith(f"POST {tokens.url} HTTP/1.1".encode())


# How often it is asked


async def test_while_it_fails_it_is_not_asked_for_each_cdr() -> None:
    """Attempts of the pause fail at once, with the same words; after it, one asks again."""
    async with scene("token-1", tokens={"answers": refusal(401, "invalid_client")}) as (tokens, _receiver, one):
        told = {verdict.words for verdict in [*await at_once(one, 20), *await at_once(one, 20)]}
        assert told == {f"token server {place_of(tokens.url)}: 401 invalid_client"}
        assert tokens.asked == 2  # in the header, and in the body
        tokens.answers = b""
        await passed(0.06)
        assert await at_once(one, 20) == [DELIVERED] * 20
    assert tokens.asked == 3


async def test_a_probe_always_asks() -> None:
    """Probes are rare, and an operator who has repaired the server wants to know."""
    is_probing = False
    async with scene("token-1", tokens={"answers": answer(503, b"")}, is_probing=lambda: is_probing) as (
        tokens,
        _receiver,
        one,
    ):
        assert (await one.post(CDR)).result == "token"
        tokens.answers = b""
        assert (await one.post(CDR)).result == "token"
        is_probing = True
        assert await one.post(CDR) == DELIVERED


async def test_retry_after_of_the_token_server_is_kept_by_probes_too() -> None:
    """It asks for time, and gets it."""
    async with scene(tokens={"answers": answer(429, b"", "retry-after: 60")}, is_probing=lambda: True) as (
        tokens,
        _receiver,
        one,
    ):
        assert [(await one.post(CDR)).result for _ in range(3)] == ["token"] * 3
    assert tokens.asked == 1


# Deadline


async def test_the_wait_for_a_token_is_a_part_of_the_attempt() -> None:
    """Token and POST together have TIMEOUT; what fails is told to be the token server."""
    async with token_endpoint() as tokens, guarded("token-1") as receiver:
        tokens.gate.clear()
        async with endpoint(receiver.url, tokens.url, timeout=0.3) as one, asyncio.timeout(1):
            assert await one.post(CDR) == token_failure(place_of(tokens.url), "timeout")
        tokens.gate.set()


async def test_an_endpoint_that_is_slow_is_not_the_token_servers_fault() -> None:
    """The same deadline, and another culprit."""
    async with token_endpoint() as tokens, guarded("token-1") as receiver:
        receiver.gate.clear()
        async with endpoint(receiver.url, tokens.url, timeout=0.3) as one, asyncio.timeout(1):
            assert await one.post(CDR) == Verdict(Kind.TRANSIENT, "timeout")
        receiver.gate.set()


# Secrets


async def test_nothing_shows_the_token() -> None:
    """Not what is kept of it, and not what is sent."""
    grant = TokenAnswer(200, b'{"access_token": "t0ken"}').grant()
    async with scene("token-1") as (_tokens, _receiver, one):
        await one.post(CDR)
        kept = repr(vars(one._transport._tokens))  # type: ignore[attr-defined]  # noqa: SLF001
    assert "AccessToken(" in kept
    assert "token-1" not in kept
    assert "t0ken" not in repr(grant) + repr(TokenAnswer(200, b"t0ken"))
