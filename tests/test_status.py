"""`cdr-forwarder status`: what waits where, who owns it, and what fails, from any machine that reaches Redis."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from app.lane.parking import FailingRecord
from tests.conftest import StartChild
from tests.harness import eventually
from tests.receiver import Receiver

Run = Callable[..., Awaitable[tuple[int, str]]]
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
async def run(start_child: StartChild, variables: dict[str, str]) -> Run:
    async def run(*words: str, **more: str) -> tuple[int, str]:
        child = await start_child(variables | more, "status", *words)
        status = await child.ended()
        assert "Traceback" not in child.log.read_text()
        return status, child.log.read_text()

    return run


async def seen(run: Run) -> dict[str, Any]:
    status, said = await run("--json")
    assert status == 0
    found: dict[str, Any] = json.loads(said)
    return found


def failing(first: timedelta, following: timedelta) -> bytes:
    return FailingRecord(NOW - first, 5, NOW + following).to_json()


async def test_it_counts_what_is_in_each_list(run: Run, client: Redis, integrator: str, source: str) -> None:
    """Of one endpoint, whose pending list is the source."""
    await client.rpush(source, *range(7))
    await client.rpush(f"{integrator}:processing:cdr", *range(2))
    await client.rpush(f"{integrator}:processing:cdr:64", *range(3))
    await client.rpush(f"{integrator}:dead:cdr", *range(4))
    found = await seen(run)
    [lane] = found["lanes"]
    assert (found["source"], found["source_key"], found["owners"]) == (7, source, [])
    assert (lane["endpoint"], lane["pending"], lane["dead"]) == ("webhook", 7, 4)
    assert lane["processing"] == {"1": 2, "64": 3}


async def test_it_tells_since_when_something_fails(run: Run, client: Redis, integrator: str) -> None:
    """The oldest first failure, and the next try; a record that is damaged hides no other."""
    key = f"{integrator}:failing:cdr"
    await client.hset(key, "a", failing(timedelta(days=2), timedelta(minutes=30)))
    await client.hset(key, "b", failing(timedelta(days=3), timedelta(minutes=50)))
    await client.hset(key, "c", failing(timedelta(hours=1), timedelta(minutes=10)))
    [lane] = (await seen(run))["lanes"]
    assert lane["failing"]["number"] == 3
    assert datetime.fromisoformat(lane["failing"]["oldest_first_failed_at"]) == NOW - timedelta(days=3)
    assert datetime.fromisoformat(lane["failing"]["next_try"]) == NOW + timedelta(minutes=10)
    await client.hset(key, "d", "damaged")
    [lane] = (await seen(run))["lanes"]
    assert lane["failing"]["number"] == lane["failing"]["looked_at"] == 4


async def test_of_very_many_failures_it_looks_at_a_part(run: Run, client: Redis, integrator: str) -> None:
    """And says so: a status must not be what blocks Redis."""
    records: dict[Any, Any] = {str(number): failing(timedelta(days=1), timedelta(hours=1)) for number in range(15_000)}
    await client.hset(f"{integrator}:failing:cdr", mapping=records)
    [lane] = (await seen(run))["lanes"]
    assert lane["failing"]["number"] == 15_000
    assert 10_000 <= lane["failing"]["looked_at"] < 13_000
    assert "looked at" in (await run())[1]


async def test_it_names_the_live_owners(
    run: Run, start_child: StartChild, variables: dict[str, str], source: str
) -> None:
    """Host, process, and what is left of the lease."""
    forwarders = [await start_child(variables, "run") for _ in range(2)]
    for forwarder in forwarders:
        await eventually(lambda child=forwarder: child.events("slot.taken"))  # type: ignore[misc]
    owners = (await seen(run))["owners"]
    assert [owner["slot"] for owner in owners] == [1, 2]
    assert {int(owner["process"].split(":")[0]) for owner in owners} == {child.process.pid for child in forwarders}
    assert all(0 < owner["lease"] <= 2 and owner["source"] == source for owner in owners)
    assert all(owner["endpoints"] == ["webhook"] for owner in owners)


async def test_of_several_endpoints_each_has_a_line(
    run: Run, variables: dict[str, str], client: Redis, integrator: str, receiver: Receiver
) -> None:
    """And what is being distributed has one too; what is left over is named."""
    del variables["CDR_WEBHOOK_URL"]
    variables |= {"CDR_ENDPOINTS__CRM__URL": receiver.url, "CDR_ENDPOINTS__BI__URL": receiver.url}
    await client.rpush(f"{integrator}:processing:cdr", "x")
    await client.rpush(f"{integrator}:crm:pending:cdr", "x", "y")
    await client.rpush(f"{integrator}:bi:processing:cdr:2", "x")
    await client.rpush(f"{integrator}:gone:pending:cdr", "x")
    found = await seen(run)
    lanes = {lane["endpoint"]: (lane["pending"], lane["processing"]) for lane in found["lanes"]}
    assert lanes == {"(all)": (None, {"1": 1}), "bi": (0, {"2": 1}), "crm": (2, {})}
    assert found["left_over"] == {"gone": 1}


async def test_people_get_a_table(run: Run, client: Redis, source: str) -> None:
    """And are told what no table shows."""
    await client.rpush(source, *range(7))
    status, said = await run()
    assert status == 0
    assert f"7 CDRs in {source}" in said
    assert "webhook" in said
    assert "No live forwarder: nothing takes from the source." in said


async def test_what_somebody_wrote_as_owner_steers_no_terminal(run: Run, client: Redis, integrator: str) -> None:
    """It is shown, without its control characters."""
    await client.set(f"{integrator}:processing:cdr:owner", json.dumps({"id": "\x1b[31mred:1", "endpoints": [1]}))
    for arguments in [], ["--json"]:
        assert "\x1b[31mred" not in (await run(*arguments))[1]


async def test_watch_says_it_again_and_again(start_child: StartChild, variables: dict[str, str]) -> None:
    """Without a terminal, one JSON object a line."""
    child = await start_child(variables, "status", "--watch", "--every", "0.1")
    lines = await eventually(lambda: [line for line in child.log.read_text().splitlines() if line.endswith("}")][2:])
    assert json.loads(lines[0])["source"] == 0


# --- one process


async def answering(answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        found = request.startswith(b"GET /api/status ")
        writer.write(answer if found else b"HTTP/1.0 404 Not Found\r\n\r\n")
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "status", "expected"),
    [
        (b'HTTP/1.0 200 OK\r\n\r\n{"slot": 1}', 0, '"slot": 1'),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", 1, "answers what is not JSON"),
        (b"HTTP/1.0 503 No\r\n\r\n", 1, "answers 503"),
        (b"nonsense\r\n\r\n", 1, "does not answer"),
    ],
    ids=["status", "another server", "an error", "no server"],
)
async def test_one_process_can_be_asked(answer: bytes, status: int, expected: str, run: Run) -> None:
    """By the URL of its operator server; Redis is not asked then."""
    async with await answering(answer) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        found, said = await run("--url", url, CDR_REDIS_URL="redis://127.0.0.1:1/0")
    assert found == status
    assert expected in said


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "file:///etc/passwd", "host:8080", "http://[", "http://x y/"])
async def test_a_process_that_cannot_be_asked_is_a_sentence(url: str, run: Run) -> None:
    status, said = await run("--url", url)
    assert status == 1
    assert len(said.splitlines()) == 1
