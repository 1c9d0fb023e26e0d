"""`cdr-forwarder status`: what waits where, who owns it, and what fails, from any machine that reaches Redis."""

import asyncio
import json
import re
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.conftest import StartChild
from tests.support.harness import eventually, gone
from tests.support.world import World

Run = Callable[..., Awaitable[tuple[int, str]]]
NAME: Final = "cdr-forwarder"


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


async def seen_when(run: Run, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for a status of which that is true, and return it."""

    async def found() -> dict[str, Any] | None:
        status = await seen(run)
        return status if condition(status) else None

    status: dict[str, Any] = await eventually(found)
    return status


def member(token: str) -> bytes:
    return b"cdr1 %b" % token.encode()


async def test_it_counts_what_is_in_each_place(run: Run, world: World) -> None:
    """Of one endpoint, whose pending list is the source."""
    await world.redis.rpush(world.source, *range(7))
    await world.redis.rpush(world.processing, *range(2))
    await world.redis.rpush(f"{world.integrator}:processing:cdr:64", *range(3))
    await world.redis.zadd(world.retry, {member("a"): 1.8e12, member("b"): 1.7e12})
    await world.redis.zadd(world.retrying, {member("c"): 1.9e12})
    await world.redis.rpush(world.dead, *range(4))
    found = await seen(run)
    [lane] = found["lanes"]
    assert (found["source_length"], found["source_key"], found["owners"]) == (7, world.source, [])
    assert (lane["endpoint"], lane["source"], lane["pending"], lane["dead"]) == ("webhook", "cdr", 7, 4)
    assert (lane["retry"], lane["retrying"], lane["next_due"]) == (2, 1, "2023-11-14T22:13:20+00:00")
    assert lane["processing"] == {"1": 2, "64": 3}
    assert lane["state"] == "unknown"
    assert lane["words"].startswith("no forwarder reports on it, 15 CDRs wait in Redis")


async def test_it_says_how_each_endpoint_is_doing(run: Run, world: World) -> None:
    """In words, from what the processes report to Redis; with what was answered last, and when."""
    for _ in range(2):
        await world.start()
    began = datetime.now(UTC).replace(microsecond=0)
    await world.redis.rpush(world.source, b"accepted")
    idle = await seen_when(run, lambda found: found["lanes"][0]["last_result"] == "success")
    assert len(idle["owners"]) == 2
    assert (idle["lanes"][0]["state"], idle["lanes"][0]["last_status"]) == ("idle", 204)
    assert began <= datetime.fromisoformat(idle["lanes"][0]["last_attempt_at"]) <= datetime.now(UTC)
    world.receiver.status = 503
    await world.redis.rpush(world.source, *[b"refused %d" % number for number in range(50)])
    down = await seen_when(run, lambda found: found["lanes"][0]["state"] == "down")
    assert re.fullmatch(
        r"(for 1 of 2 processes )?down since \d\d:\d\d UTC \(503\), \d+ CDRs wait in Redis, "
        r"next probe (in \d+ s|under way)",
        down["lanes"][0]["words"],
    )
    reports = [owner["endpoints"]["webhook"] for owner in down["owners"]]
    assert {"open", "half-open"} & {report["breaker"] for report in reports}
    assert sum(report["attempts"].get("http_5xx", 0) for report in reports) >= 10
    status, said = await run()
    assert status == 0
    assert re.search(r"webhook: .*down since \d\d:\d\d UTC \(503\)", said)
    assert re.search(r"Last result: 503 at \d\d:\d\d UTC", said)


async def test_it_names_the_live_owners(run: Run, world: World) -> None:
    """Host, process, version, and what is left of the lease; a report of a predecessor is not taken for theirs."""
    [forwarder, _] = [await world.start() for _ in range(2)]
    found = await seen_when(run, lambda found: [owner["version"] for owner in found["owners"]] == [version(NAME)] * 2)
    owners = found["owners"]
    assert [owner["slot"] for owner in owners] == [1, 2]
    assert len({owner["process"] for owner in owners}) == 2
    assert all(0 < owner["lease_left"] <= 2 and owner["source_key"] == world.source for owner in owners)
    assert all(owner["endpoints"].keys() == {"webhook"} for owner in owners)
    assert all(owner["reported_at"] >= owner["started_at"] for owner in owners)
    said = (await run())[1]
    assert all(re.search(rf"{owner['slot']} .*{re.escape(owner['host'])}", said) for owner in owners)
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended() == 0
    assert len((await seen(run))["owners"]) == 1


async def test_a_report_tells_no_secret_and_nothing_of_a_cdr(world: World) -> None:
    """Whoever may read our keys may not know what we sign with, nor who called whom."""
    world.receiver.status = 400
    secrets = {
        "CDR_WEBHOOK_URL": world.receiver.url.replace("//", "//ann:hunter2@") + "?key=hunter2",
        "CDR_WEBHOOK_SECRET": "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIy",
        "CDR_WEBHOOK_HEADERS": '{"x-key": "hunter2"}',
    }
    await world.start(secrets)
    await world.redis.rpush(world.source, b'{"number": "0825550142"}')

    async def reported() -> bytes | None:
        value: Any = await world.redis.get(f"{world.integrator}:processing:cdr:report")
        return value if value and b"http_4xx" in value else None

    value = await eventually(reported)
    assert not re.search(rb"hunter2|aHVudGVyMm|0825550142|127\.0\.0\.1", value)
    assert 0 < await world.redis.pttl(f"{world.integrator}:processing:cdr:report") <= 3 * 2_000


async def test_it_counts_what_was_delivered_in_the_last_hour(run: Run, world: World) -> None:
    """By all processes together, also by those that are gone."""
    refused = iter([503])
    world.receiver.judge = lambda _: next(refused, 204)
    for number in (10, 5):
        forwarder = await world.start()
        await world.redis.rpush(world.source, *[b"%d of %d" % (each, number) for each in range(number)])
        await eventually(lambda: world.receiver.bodies.total() in {10, 15})
        await eventually(lambda: gone(world.redis, world.source))
        forwarder.signal(signal.SIGTERM)
        assert await forwarder.ended() == 0
    [lane] = (await seen(run))["lanes"]
    assert (lane["delivered_last_hour"], lane["failed_last_hour"]) == (15, 1)


async def test_of_several_endpoints_each_has_a_line(run: Run, world: World) -> None:
    """And what is being distributed has one too; what is left over is named."""
    del world.variables["CDR_WEBHOOK_URL"]
    for name in ("CRM", "BI"):
        world.variables[f"CDR_ENDPOINTS__{name}__URL"] = world.receiver.url
    await world.redis.rpush(world.processing, "x")
    await world.redis.rpush(f"{world.integrator}:crm:pending:cdr", "x", "y")
    await world.redis.rpush(f"{world.integrator}:bi:processing:cdr:2", "x")
    await world.redis.rpush(f"{world.integrator}:gone:pending:cdr", "x")
    found = await seen(run)
    lanes = {lane["endpoint"]: (lane["pending"], lane["processing"]) for lane in found["lanes"]}
    assert lanes == {"(all)": (None, {"1": 1}), "bi": (0, {"2": 1}), "crm": (2, {})}
    assert [lane["state"] for lane in found["lanes"]] == [None, "unknown", "unknown"]
    assert found["left_over"] == {"gone": 1}


async def test_who_else_takes_from_the_source_is_told(run: Run, world: World) -> None:
    """Another integrator's forwarder, and an old script: no forwarder sees what they take."""
    other = await world.start({"CDR_INTEGRATOR": "rival"})
    await eventually(lambda: other.events("slot.taken"))
    async with Redis.from_url(world.server.url, client_name=f"old-script-{world.integrator}") as script:
        await script.lpop(world.source)
        _, said = await run()
    assert f"The forwarder of rival takes from {world.source}" in said
    assert f"(old-script-{world.integrator}), not of ours, took from a list (LPOP)" in said


async def test_a_wrong_password_names_what_to_set(run: Run, own_redis: EmbeddedRedis, own_client: Redis) -> None:
    """Not the ACL, and not a key: the login is refused."""
    await own_client.config_set("requirepass", "changed")
    status, said = await run(CDR_REDIS_URL=own_redis.url)
    await own_client.config_set("requirepass", "")
    assert status == 1
    assert "refuses our login" in said
    assert "set the user name and password that Redis knows, in this variable" in said


GOOD_OWNER: Final = json.dumps({"id": "x", "host": "here", "endpoints": {"webhook": "f"}})
ODD_OWNERS: Final = {
    "control characters": json.dumps(
        {"id": "\x1b[31mred", "host": "\x9b2J\x07", "endpoints": {"\x1b]0;x\x07": "f", "\ud800": "f"}}
    ),
    "endpoints that are no object": json.dumps({"id": "x", "endpoints": 5}),
    "many endpoints": json.dumps({"id": "x", "endpoints": {f"endpoint {number}": "f" for number in range(5_000)}}),
    "long texts": json.dumps({"id": "x" * 500_000, "host": "y" * 500_000}),
    "nested": "[" * 100_000,
    "not JSON": "\x00\xff",
}
ODD_REPORTS: Final = {
    "control characters": json.dumps(
        {
            "id": "x",
            "version": "\x1b[31mred",
            "at": "2026-01-01T00:00:00",
            "endpoints": {"webhook": {"breaker": "open", "failing_with": "\x1b[31mred\n\u202e", "last_result": "\x1b"}},
        }
    ),
    "other types": json.dumps({"id": "x", "endpoints": {"webhook": {"breaker": [], "attempts": 5}}}),
    "nested": '{"a":' * 100_000,
    "long": "x" * 5_000_000,
    "not JSON": "\x00\xff",
    "numbers": '{"id": "x", "endpoints": {"webhook": {"delivered": %s}}}' % ("9" * 10_000),
}


@pytest.mark.parametrize(
    ("owner", "report"),
    [
        *((owner, ODD_REPORTS["control characters"]) for owner in ODD_OWNERS.values()),
        *((GOOD_OWNER, report) for report in ODD_REPORTS.values()),
    ],
    ids=[*(f"owner: {name}" for name in ODD_OWNERS), *(f"report: {name}" for name in ODD_REPORTS)],
)
async def test_what_somebody_wrote_steers_no_terminal_and_stops_no_status(
    owner: str, report: str, run: Run, client: Redis, integrator: str
) -> None:
    """It is shown, cut, and without its control characters."""
    await client.set(f"{integrator}:processing:cdr:owner", owner, px=60_000)
    await client.set(f"{integrator}:processing:cdr:report", report)
    for words in [], ["--json"]:
        status, said = await run(*words)
        assert status == 0
        assert all(sign.isprintable() or sign == "\n" for sign in said)
        assert len(said) < 50_000


async def test_keys_of_wrong_types_stop_no_status(run: Run, world: World) -> None:
    """They hold nothing that could be counted; `check` names them."""
    names = "processing:cdr:2 processing:cdr:owner processing:cdr:report retry:cdr retrying:cdr dead:cdr minutes:cdr"
    for name in names.split():
        await world.redis.hset(f"{world.integrator}:{name}", "a", "b")
    await world.redis.set(world.source, "a string")
    found = await seen(run)
    [lane] = found["lanes"]
    assert (found["source_length"], found["owners"]) == (0, [])
    assert {lane[name] for name in ("pending", "retry", "retrying", "dead", "delivered_last_hour")} == {0}


@pytest.mark.parametrize("score", ["-inf", "inf", "1e300", "-1e300", "253402300800000"])
async def test_a_due_time_beyond_all_years_is_none(score: str, run: Run, client: Redis, integrator: str) -> None:
    await client.zadd(f"{integrator}:retry:cdr", {b"x": float(score)})
    [lane] = (await seen(run))["lanes"]
    assert (lane["retry"], lane["next_due"]) == (1, None)


async def test_people_get_a_table(run: Run, client: Redis, source: str) -> None:
    """And are told what no table shows."""
    await client.rpush(source, *range(7))
    status, said = await run()
    assert status == 0
    assert f"7 CDRs in {source}" in said
    assert "webhook" in said
    assert "No live forwarder: nothing takes from the source." in said


async def test_watch_says_it_again_and_again(start_child: StartChild, variables: dict[str, str]) -> None:
    """Without a terminal, one JSON object a line."""
    child = await start_child(variables, "status", "--watch", "--every", "0.1")
    lines = await eventually(lambda: [line for line in child.log.read_text().splitlines() if line.endswith("}")][2:])
    assert json.loads(lines[0])["source_length"] == 0


# --- one process


async def answering(answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        found = request.startswith(b"GET /api/status ")
        writer.write(answer if found else b"HTTP/1.0 404 Not Found\r\n\r\n")
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


STATUS = {
    "sources": [{"name": "cdr"}],
    "short": "billing is down",
    "troubles": [{"level": "bad", "short": "is down", "words": "billing is down since 02:10 UTC"}],
    "lanes": [{"endpoint": "billing", "words": "down \x1b[2J", "waiting": 7, "delivered_today": 3, "dead": 0}],
}
GIVEN = b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(STATUS).encode()


@pytest.mark.parametrize(
    ("answer", "options", "status", "expected"),
    [
        (GIVEN, (), 0, "billing: down \N{REPLACEMENT CHARACTER}[2J. waiting 7, delivered today 3, dead 0."),
        (GIVEN, ("--json",), 0, '"delivered_today": 3'),
        (b'HTTP/1.0 200 OK\r\n\r\n{"slot": 1}', (), 1, "answers what is not a status"),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", (), 1, "answers what is not JSON"),
        (b"HTTP/1.0 503 No\r\n\r\n", (), 1, "answers 503"),
        (b"nonsense\r\n\r\n", (), 1, "does not answer"),
    ],
    ids=["status", "as JSON", "another status", "another server", "an error", "no server"],
)
async def test_one_process_can_be_asked(
    answer: bytes, options: tuple[str, ...], status: int, expected: str, run: Run
) -> None:
    """By the URL of its operator server; Redis is not asked then."""
    async with await answering(answer) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        found, said = await run("--url", url, *options, CDR_REDIS_URL="redis://127.0.0.1:1/0")
    assert found == status
    assert expected in said


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "file:///etc/passwd", "host:8080", "http://[", "http://x y/"])
async def test_a_process_that_cannot_be_asked_is_a_sentence(url: str, run: Run) -> None:
    status, said = await run("--url", url)
    assert status == 1
    assert len(said.splitlines()) == 1
