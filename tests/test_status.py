"""`cdr-forwarder status`: what waits where, who owns it, and what fails, from any machine that reaches Redis."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from app.cdr import History
from app.store.retry_set import member_of
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


def deferred(number: int) -> bytes:
    return member_of(f"t-{number}", History(attempts=3), b"cdr %d" % number)


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


async def test_it_tells_what_is_deferred_and_when_the_next_is_due(run: Run, client: Redis, integrator: str) -> None:
    """Those that are handed out are among them; a member that no forwarder has written hides no other."""
    due = {deferred(1): NOW + timedelta(minutes=30), deferred(2): NOW + timedelta(minutes=10)}
    await client.zadd(f"{integrator}:retry:cdr", {member: when.timestamp() * 1000 for member, when in due.items()})
    await client.zadd(f"{integrator}:retrying:cdr", {deferred(3): (NOW + timedelta(minutes=1)).timestamp() * 1000})
    [lane] = (await seen(run))["lanes"]
    assert (lane["deferred"]["number"], lane["deferred"]["handed_out"]) == (3, 1)
    assert datetime.fromisoformat(lane["deferred"]["next_due"]) == NOW + timedelta(minutes=10)
    await client.zadd(f"{integrator}:retry:cdr", {"put there by hand": "inf"})
    [lane] = (await seen(run))["lanes"]
    assert lane["deferred"]["number"] == 4


async def test_a_score_that_is_no_time_is_no_error(run: Run, client: Redis, integrator: str) -> None:
    """Whatever somebody has put there."""
    await client.zadd(f"{integrator}:retry:cdr", {"a": "inf"})
    [lane] = (await seen(run))["lanes"]
    assert (lane["deferred"]["number"], lane["deferred"]["next_due"]) == (1, None)
    await client.zadd(f"{integrator}:retry:cdr", {"b": "-inf"})
    [lane] = (await seen(run))["lanes"]
    assert (lane["deferred"]["number"], lane["deferred"]["next_due"]) == (2, None)


async def test_very_many_deferred_ones_are_only_counted(run: Run, client: Redis, integrator: str) -> None:
    """A status must not be what blocks Redis."""
    later = (NOW + timedelta(hours=1)).timestamp() * 1000
    await client.zadd(f"{integrator}:retry:cdr", {deferred(number): later for number in range(15_000)})
    [lane] = (await seen(run))["lanes"]
    assert lane["deferred"]["number"] == 15_000


async def test_it_names_the_live_owners(
    run: Run, start_child: StartChild, variables: dict[str, str], source: str
) -> None:
    """Host, process, and what is left of the lease."""
    forwarders = [await start_child(variables, "run") for _ in range(2)]
    for forwarder in forwarders:
        await eventually(lambda child=forwarder: child.events("slot.taken"))  # type: ignore[misc]
    owners = (await seen(run))["owners"]
    assert [owner["slot"] for owner in owners] == [1, 2]
    assert {owner["host"] for owner in owners} == {socket.gethostname()}
    assert len({owner["process"] for owner in owners}) == 2
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
    await client.set(
        f"{integrator}:processing:cdr:owner", json.dumps({"id": "\x1b[31mred:1", "endpoints": {"\x1b[31mred": 1}})
    )
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
