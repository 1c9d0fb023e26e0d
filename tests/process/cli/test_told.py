"""What operators do is an event and a counter, in the process that runs, and says who did how much."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from socket import gethostname
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.config.timings import Timings
from app.demo.embedded import free_port
from app.service import Service
from tests.conftest import StartChild
from tests.support.harness import eventually, running, settings_from
from tests.support.metrics import metrics_of
from tests.support.world import World

TOKEN: Final = "token-of-sixteen-characters"

Told = Callable[[str], list[Any]]


@pytest.fixture
def told() -> Iterator[Told]:
    """Return the events of a name."""
    with capture_logs() as logged:
        yield lambda name: [event for event in logged if event["event"] == name]


@pytest.fixture
def watched(variables: dict[str, str]) -> dict[str, str]:
    return variables | {"CDR_OPS_PORT": str(free_port()), "CDR_OPS_TOKEN": TOKEN}


@pytest.fixture
async def service(watched: dict[str, str], told: Told) -> AsyncIterator[Service]:
    async with running(settings_from(watched), Timings(sample=0.05)) as service:
        await eventually(service.parts.sources[0].lease.holds)
        yield service


@pytest.fixture
async def http(watched: dict[str, str], service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{watched['CDR_OPS_PORT']}", trust_env=False) as http:
        yield http


Run = Callable[..., Awaitable[None]]


@pytest.fixture
def run(watched: dict[str, str], start_child: StartChild) -> Run:
    """Run a command to its good end."""

    async def run(*arguments: str) -> None:
        assert await (await start_child(watched, *arguments)).ended() == 0

    return run


@pytest.fixture
async def letters(client: Redis, dead: str) -> list[str]:
    """Three dead letters; their ids."""
    ids = [f"cdr_{number}" for number in range(3)]
    for name in ids:
        await client.rpush(dead, json.dumps({"id": name, "cdr": name, "reason": "rejected"}))
    return ids


async def test_commands_are_told_and_counted_by_the_process_that_runs(
    letters: list[str], run: Run, told: Told, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    """They run elsewhere, and leave word in Redis: with the host where they ran."""
    (tmp_path / "missed.jsonl").write_text('{"type": "cdr"}\n{"type": "cdr", "payload": {}}\n')
    await run("dead-letters", "drop", "--id", letters[0], "--yes")
    await run("dead-letters", "replay")
    await run("inject", str(tmp_path / "missed.jsonl"))
    await eventually(lambda: told("cdrs.injected"))
    host = gethostname()
    assert [(event["number"], event["by"]) for event in told("dead_letters.dropped")] == [(1, host)]
    assert [(event["number"], event["by"], event["to"]) for event in told("dead_letters.replayed")] == [
        (2, host, "webhook")
    ]
    assert [(one["source"], one["number"], one["by"]) for one in told("cdrs.injected")] == [("cdr", 2, host)]
    found = await metrics_of(http)
    lane = "webhook", "cdr"
    assert found["dead_letters_dropped_total", *lane] == 1
    assert found["dead_letters_replayed_total", *lane] == 2
    assert found["injected_total", *lane] == 2


async def test_a_reroute_is_told(run: Run, told: Told, service: Service, world: World) -> None:
    """From where, to where, and how many."""
    await world.redis.rpush(f"{world.integrator}:old:pending:cdr", "one", "two")
    await run("reroute", "old", "webhook")
    [event] = await eventually(lambda: told("cdrs.rerouted"))
    assert (event["endpoint"], event["to"], event["number"], event["by"]) == ("old", "webhook", 2, gethostname())


async def test_what_is_done_on_the_page_is_told(letters: list[str], told: Told, http: httpx.AsyncClient) -> None:
    """With how many; the page is who."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    for action, ids in (("drop", letters[:1]), ("replay", letters[1:])):
        answer = await http.post(f"/api/dead-letters/{action}", json={"ids": ids}, headers=headers)
        assert answer.json()["done"] == len(ids)
    assert [(event["number"], event["by"]) for event in told("dead_letters.dropped")] == [(1, "page")]
    assert [(event["number"], event["by"]) for event in told("dead_letters.replayed")] == [(2, "page")]


async def test_a_probe_is_told(run: Run, told: Told, http: httpx.AsyncClient) -> None:
    """By the command, with its host; and on the page."""
    await run("probe", "webhook")
    await http.post("/api/endpoints/webhook/probe", headers={"authorization": f"Bearer {TOKEN}"})
    assert [(event["endpoint"], event["outcome"], event["by"]) for event in told("endpoint.probed")] == [
        ("webhook", "not down", gethostname()),
        ("webhook", "not down", "page"),
    ]


async def test_what_nobody_can_read_is_left_out(service: Service, told: Told, client: Redis, integrator: str) -> None:
    """Anybody may write into Redis."""
    key = f"{integrator}:operations:cdr"
    good = json.dumps({"action": "inject", "number": 7, "by": "host"})
    bad: list[str | bytes] = [
        b"\xff",
        "[]",
        "{}",
        "[" * 5000,
        '{"action": "format"}',
        '{"action": "drop", "number": "9"}',
        good,
    ]
    await client.rpush(key, *bad)
    [event] = await eventually(lambda: told("cdrs.injected"))
    assert (event["number"], event["by"]) == (7, "host")
    assert not told("dead_letters.dropped")
    assert not await client.exists(key)
