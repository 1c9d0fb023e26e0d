"""What an outcome leads to: ack, dead letter or park."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from redis.asyncio import Redis

from tests.harness import eventually, gone, running, settings_from
from tests.receiver import Receiver

StartAnswers = Callable[[list[bytes]], Awaitable[tuple[str, list[float]]]]


@pytest.fixture
async def start_answers() -> AsyncIterator[StartAnswers]:
    """Start a receiver that gives the answers in turn, then 204; return its URL and when it was asked."""
    servers: list[asyncio.Server] = []

    async def start(answers: list[bytes]) -> tuple[str, list[float]]:
        times: list[float] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
                    times.append(time.monotonic())
                    writer.write(answers.pop(0) if answers else b"HTTP/1.1 204 No Content\r\n\r\n")
            writer.close()

        servers.append(await asyncio.start_server(talk, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}/", times

    yield start
    for server in servers:
        server.close()


ONCE = {"CDR_WEBHOOK_ATTEMPTS": "1", "CDR_SWEEP_INTERVAL": "0.2"}


async def test_a_rejected_cdr_becomes_a_dead_letter(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, dead: str
) -> None:
    """With all that the contract tells of it, base64 where it is not UTF-8."""
    receiver.status = 422
    await client.rpush(source, b"text", b"\xff\x00")
    async with running(settings_from(variables)):
        await eventually(lambda: client.llen(dead))
        await eventually(lambda: gone(client, source, processing))
    letters = {letter["id"]: letter for letter in map(json.loads, await client.lrange(dead, 0, -1))}
    assert {letter.get("cdr", letter.get("cdr_base64")) for letter in letters.values()} == {"text", "/wA="}
    for letter in letters.values():
        facts = {name: letter[name] for name in ("endpoint", "reason", "status", "attempts")}
        assert facts == {"endpoint": "webhook", "reason": "rejected", "status": 422, "attempts": 1}
        assert letter["dead_at"].endswith("+00:00")


async def test_an_exhausted_cdr_is_parked_and_tried_again(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, integrator: str
) -> None:
    """It stays in processing with a failing record, and its attempts are counted on."""
    receiver.status = 503
    await client.rpush(source, "cdr")
    async with running(settings_from(variables | ONCE)):
        await eventually(lambda: client.hlen(f"{integrator}:failing:cdr"))
        assert await client.llen(processing) == 1
        receiver.status = 204
        await eventually(lambda: gone(client, processing, f"{integrator}:failing:cdr"))
    assert [arrival.attempt for arrival in receiver.arrivals] == list(range(1, len(receiver.arrivals) + 1))


async def test_retry_after_holds_the_lane(
    client: Redis, start_answers: StartAnswers, variables: dict[str, str], source: str, processing: str
) -> None:
    """Nothing is claimed until then; then the CDR that was refused goes first to be tried again."""
    answers = [b"HTTP/1.1 503 No\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"]
    url, times = await start_answers(answers)
    await client.rpush(source, "first")
    async with running(settings_from(variables | {"CDR_WEBHOOK_URL": url})):
        await eventually(lambda: times)
        await client.rpush(source, "second")
        await eventually(lambda: gone(client, source, processing))
    assert len(times) == 3
    assert times[1] - times[0] >= 0.9


async def test_a_poison_cdr_is_given_up_while_others_are_taken(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, dead: str
) -> None:
    """After CDR_GIVE_UP_AFTER it is a dead letter; the others are not held up by it."""
    receiver.judge = lambda body: 503 if body == b"poison" else 204
    await client.rpush(source, "poison")
    async with running(settings_from(variables | ONCE | {"CDR_GIVE_UP_AFTER": "0.3"})):
        await eventually(lambda: receiver.refused >= 2)
        assert not await client.exists(dead)
        await client.rpush(source, "taken")
        await eventually(lambda: client.llen(dead))
        await eventually(lambda: gone(client, source, processing))
    (letter,) = map(json.loads, await client.lrange(dead, 0, -1))
    assert (letter["reason"], letter["cdr"]) == ("gave_up", "poison")


async def test_a_total_outage_dead_letters_nothing(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str, dead: str
) -> None:
    """However long: a wrong URL or credential is cured by an operator."""
    receiver.status = 401
    await client.rpush(source, "a", "b")
    async with running(settings_from(variables | ONCE | {"CDR_GIVE_UP_AFTER": "0.1"})):
        await eventually(lambda: receiver.refused >= 6)
        assert not await client.exists(dead)
        receiver.status = 204
        await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == Counter([b"a", b"b"])


async def test_parked_cdrs_do_not_starve_new_ones(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """They take a quarter of the slots at most while new ones wait."""
    receiver.judge = lambda body: 503 if body.startswith(b"poison") else 204
    await client.rpush(source, *(f"poison {number}" for number in range(40)), *(f"cdr {n}" for n in range(200)))
    async with running(settings_from(variables | ONCE | {"CDR_WEBHOOK_CONCURRENCY": "8"})):
        await eventually(lambda: receiver.bodies.total() == 200)
        assert await client.llen(processing) >= 40
