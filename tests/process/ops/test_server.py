"""The operator server, over a real socket: what is answered, to whom, and what is never told."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis
from app.ops.routes import PAGE
from app.service import Service
from tests.conftest import StartChild
from tests.process.ops.conftest import QUICK, TOKEN, become_dead
from tests.support.harness import environment, eventually, running, settings_from
from tests.support.metric_names import METRIC_NAMES
from tests.support.receiver import Receiver
from tests.support.world import World

GOOD_CDR: Final = b"accepted"
SECRET_CDR: Final = b'{"number": "0825550142"}'


@pytest.fixture
async def http(watched: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://127.0.0.1:{watched['CDR_OPS_PORT']}"
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        yield client


Ask = Callable[..., Any]


@pytest.fixture
def ask(http: httpx.AsyncClient) -> Ask:
    """Return the status and the text of an answer."""

    async def ask(path: str, method: str = "GET", **options: Any) -> tuple[int, str]:
        answer = await http.request(method, path, **options)
        return answer.status_code, answer.text

    return ask


async def post(ask: Ask, path: str, token: str = TOKEN, **body: Any) -> tuple[int, Any]:
    authorization = f"Bearer {token}".strip().encode("latin-1")
    status, text = await ask(path, "POST", json=body, headers={b"authorization": authorization})
    return status, json.loads(text) if status == 200 else text


async def get(ask: Ask, path: str, token: str = TOKEN) -> tuple[int, Any]:
    status, text = await ask(path, headers={"authorization": f"Bearer {token}"} if token else {})
    return status, json.loads(text) if status == 200 else text


async def metrics_of(ask: Ask) -> dict[tuple[str, ...], float]:
    """Return every sample by its name, without our prefix, and the values of its labels."""
    _, text = await ask("/metrics")
    return {
        (sample.name.removeprefix("cdr_forwarder_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
async def dead(world: World, service: Service) -> list[bytes]:
    """Three CDRs that the endpoint has rejected twice, while it accepted another; it accepts them from now on."""
    bodies = [SECRET_CDR, b"two", b"\xff three"]
    await become_dead(bodies, world.redis, world.receiver, service, world.source)
    world.receiver.judge = lambda _: 204
    return bodies


async def answers(ask: Ask, path: str, status: int) -> bool:
    return bool((await ask(path))[0] == status)


# --- health


async def test_it_is_alive_and_ready(service: Service, ask: Ask) -> None:
    """While its loops go round, and Redis and a lease are there."""
    assert await ask("/livez") == (200, "alive\n")
    assert await ask("/readyz") == (200, "ready\n")


async def test_a_stuck_loop_is_not_alive(service: Service, ask: Ask) -> None:
    """Nothing in the process would cure it: whoever runs the container has to start it again."""
    [lane] = service.parts.lanes
    await eventually(partial(answers, ask, "/livez", 200))  # over the connection that the next question takes
    lane.claimer.heartbeat_at -= Timings().stuck + 10
    assert await ask("/livez") == (503, "a loop is stuck\n")
    lane.claimer.wake()
    await eventually(partial(answers, ask, "/livez", 200))


@pytest.mark.parametrize("endpoints", [1, 2])
async def test_without_redis_it_is_alive_and_not_ready(
    endpoints: int,
    own_redis: EmbeddedRedis,
    receiver: Receiver,
    watched: dict[str, str],
    ask: Ask,
) -> None:
    """A restart would not bring Redis back; and where nothing is to be done, all is alive too."""
    several = {"CDR_WEBHOOK_URL": "", "CDR_ENDPOINTS__A__URL": receiver.url, "CDR_ENDPOINTS__B__URL": receiver.url}
    variables = watched | {"CDR_REDIS_URL": own_redis.url} | (several if endpoints == 2 else {})
    async with running(settings_from(variables), replace(QUICK, stuck=2.5)) as service:
        await eventually(service.parts.sources[0].lease.holds)
        await asyncio.to_thread(own_redis.kill)

        async def is_known() -> bool:
            status, text = await ask("/readyz")
            return status == 503 and "Redis has not answered" in text and "no processing list" in text

        await eventually(is_known)
        await eventually(lambda: service.parts.sources[0].link.outage.seconds > 3.5)
        assert (await ask("/livez"))[0] == 200
        await asyncio.to_thread(own_redis.start)

        await eventually(partial(answers, ask, "/readyz", 200))


async def test_healthcheck_asks_it(start_child: StartChild, watched: dict[str, str]) -> None:
    """As a container does."""
    assert await (await start_child(watched, "healthcheck")).ended() == 1
    forwarder = await start_child(watched, "run")
    await eventually(lambda: forwarder.events("slot.taken"))
    assert await (await start_child(watched, "healthcheck")).ended() == 0


# --- metrics


async def test_every_metric_of_the_contract_is_there(service: Service, ask: Ask) -> None:
    """And no other."""
    _, text = await ask("/metrics")
    families = {
        family.name.removeprefix("cdr_forwarder_") + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
    }
    of_process = {name for name in families if name.startswith("process_")}
    assert families - of_process == METRIC_NAMES
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= of_process


async def test_what_concerns_a_lane_says_which(service: Service, ask: Ask) -> None:
    """By endpoint and source; the rest is of the process, and has neither."""
    _, text = await ask("/metrics")
    of_process, of_redis = {"ready", "log_lines_dropped"}, {"redis_up", "redis_memory_used_ratio", "foreign_consumers"}
    for family in text_string_to_metric_families(text):
        name = family.name.removeprefix("cdr_forwarder_")
        labels = [sample.labels.keys() for sample in family.samples]
        if name in of_process or name.startswith("process_"):
            assert all(keys == set() for keys in labels), name
        elif name in of_redis:
            assert all(keys == {"source"} for keys in labels), name
        elif name != "build_info":
            assert labels, name
            assert all({"endpoint", "source"} <= keys for keys in labels), name


async def test_what_happened_is_counted(dead: list[bytes], world: World, service: Service, ask: Ask) -> None:
    """CDRs, attempts by result, dead letters by reason, and what was found again."""
    refused, before = iter([503, 204]), await metrics_of(ask)
    world.receiver.judge = lambda body: next(refused) if body == b"flaky" else 204
    await world.redis.rpush(world.source, b"good", b"flaky")
    await world.redis.rpush(service.parts.sources[0].topology.short.slot(1).processing, b"stray")
    await eventually(lambda: world.receiver.bodies.total() == 3)
    await eventually(lambda: not service.parts.lanes[0].lane.in_flight.number)
    found = await metrics_of(ask)
    more = {name: found[name] - before[name] for name in found}
    lane = "webhook", "cdr"
    assert more["claimed_total", *lane] == 2
    assert more["delivered_total", *lane] == 3
    assert more["attempts_total", "webhook", "success", "cdr"] == 3
    assert more["attempts_total", "webhook", "http_5xx", "cdr"] == 1
    assert more["attempts_total", "webhook", "dns", "cdr"] == 0
    assert more["deferred_total", *lane] == 1
    assert more["recovered_total", "webhook", "own", "cdr"] == 1
    assert more["recovered_total", "webhook", "orphan", "cdr"] == 0
    assert more["attempt_duration_seconds_count", *lane] == 4
    assert more["delivery_duration_seconds_count", *lane] == 3
    assert found["attempts_total", "webhook", "http_4xx", "cdr"] >= 6
    assert found["dead_lettered_total", "webhook", "rejected", "cdr"] == 3
    assert found["acks_lost_total", *lane] == 0
    assert found["last_delivery_timestamp_seconds", *lane] > 1.7e9
    assert found["redis_up", "cdr"] == found["ready",] == 1
    assert found["foreign_consumers", "cdr"] == 0
    assert 0 < found["redis_memory_used_ratio", "cdr"] < 1


async def metrics_when(ask: Ask, condition: Callable[[dict[tuple[str, ...], float]], bool]) -> Any:
    """Wait for metrics of which that is true, and return them."""

    async def found() -> dict[tuple[str, ...], float] | None:
        metrics = await metrics_of(ask)
        return metrics if condition(metrics) else None

    return await eventually(found)


async def test_what_is_in_flight_is_seen(world: World, service: Service, ask: Ask) -> None:
    """With those of it that wait for a worker."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, *[b"cdr %d" % number for number in range(100)])
    await eventually(lambda: world.receiver.at_the_gate == 32)
    lane = "webhook", "cdr"
    found = await metrics_when(ask, lambda found: found["processing_length", *lane] == found["in_flight", *lane] > 0)
    assert found["in_flight", *lane] == 32 + found["prefetched", *lane]
    assert found["in_flight", *lane] + found["pending_length", *lane] == 100
    assert found["oldest_in_flight_seconds", *lane] > 0


async def test_what_waits_is_seen(world: World, service: Service, ask: Ask) -> None:
    """Its number, and for how long the oldest has been the same one."""
    lane = "webhook", "cdr"
    service.parts.lanes[0].lane.gate.hold(120)
    await world.redis.rpush(world.source, b"one", b"two")
    await world.redis.zadd(service.parts.sources[0].topology.short.retry, {b"deferred": 1e15})
    before = await metrics_when(ask, lambda found: found["pending_length", *lane] == 2)
    age = "pending_head_age_seconds", *lane
    await metrics_when(ask, lambda found: found[age] > before[age] and found["retry_length", *lane] == 1)
    await world.redis.delete(world.source)
    await metrics_when(ask, lambda found: not found["pending_length", *lane] and not found[age])


async def test_what_is_done_with_dead_letters_is_counted(dead: list[bytes], ask: Ask) -> None:
    """Replayed and dropped ones."""
    first, *_ = (await get(ask, "/api/dead-letters"))[1]["letters"]
    await post(ask, "/api/dead-letters/drop", ids=[first["id"]])
    await post(ask, "/api/dead-letters/replay", all=True)
    found = await metrics_of(ask)
    assert found["dead_letters_dropped_total", "webhook", "cdr"] == 1
    assert found["dead_letters_replayed_total", "webhook", "cdr"] == 2


async def test_one_that_stops_is_not_ready(service: Service, world: World, ask: Ask) -> None:
    """Nor is one without Redis or a lease; its endpoints do not matter."""
    world.receiver.gate.clear()
    await world.redis.rpush(world.source, b"on the wire")
    await eventually(lambda: world.receiver.at_the_gate)
    service.stop()
    assert (await metrics_of(ask))["ready",] == 0
    world.receiver.gate.set()


async def test_what_waits_for_distribution_is_seen_too(world: World, watched: dict[str, str], ask: Ask) -> None:
    """Under the name of all; each endpoint has its own."""
    several = {
        "CDR_WEBHOOK_URL": "",
        "CDR_ENDPOINTS__A__URL": world.receiver.url,
        "CDR_ENDPOINTS__B__URL": world.receiver.url,
    }
    async with running(settings_from(watched | several), QUICK):
        await world.redis.rpush(world.source, b"one", b"two")
        await eventually(lambda: world.receiver.bodies.total() == 4)

        async def is_empty() -> bool:
            return not (await metrics_of(ask))["pending_length", "all", "cdr"]

        await eventually(is_empty)
        found = await metrics_of(ask)
    assert {found["delivered_total", name, "cdr"] for name in "ab"} == {2}
    assert ("delivered_total", "all", "cdr") not in found


async def test_a_breaker_that_is_open_is_seen_and_put_into_words(world: World, service: Service, ask: Ask) -> None:
    """Whoever is woken reads a sentence."""
    world.receiver.status = 503
    await world.redis.rpush(world.source, *[b"cdr %d" % number for number in range(50)])

    async def is_told() -> Any:
        [lane] = json.loads((await ask("/api/status"))[1])["lanes"]
        return lane if " UTC " in lane["words"] and " 50 CDRs" in lane["words"] else None

    lane = await eventually(is_told)
    assert re.fullmatch(
        r"down since \d\d:\d\d UTC \(503\), 50 CDRs wait in Redis, next probe (in \d+ s|under way)",
        lane["words"],
    )
    assert (await metrics_of(ask))["breaker_open", "webhook", "cdr"] == 1


async def test_an_endpoint_that_asks_for_time_is_put_into_words(service: Service, ask: Ask) -> None:
    """Nothing is wrong, and nothing is to be done."""
    service.parts.lanes[0].lane.gate.hold(120)
    [lane] = json.loads((await ask("/api/status"))[1])["lanes"]
    assert lane["state"] == "held"
    assert re.fullmatch(r"asked for time \(Retry-After\), 0 CDRs wait in Redis, goes on in 1[12]\d s", lane["words"])


async def test_an_endpoint_that_fails_some_is_put_into_words(world: World, watched: dict[str, str], ask: Ask) -> None:
    """Deferred CDRs, and a breaker that is closed."""
    world.receiver.judge = lambda body: 503 if body == b"hopeless" else 204
    await world.redis.rpush(world.source, b"hopeless")

    async def is_told() -> Any:
        [lane] = json.loads((await ask("/api/status"))[1])["lanes"]
        return lane if lane["state"] == "failing" else None

    async with running(settings_from(watched), Timings(sample=0.05, failing=0.1)) as service:
        await eventually(service.parts.sources[0].lease.holds)
        lane = await eventually(is_told)
    assert "every attempt has failed since " in lane["words"]


# --- the page, and what it may not do


@pytest.mark.parametrize("path", PAGE)
async def test_the_page_is_its_own(service: Service, http: httpx.AsyncClient, path: str) -> None:
    """Nothing from elsewhere, and nothing inline: the policy forbids what somebody might smuggle in."""
    answer = await http.get(path)
    text, policy = answer.text, answer.headers["content-security-policy"]
    assert answer.status_code == 200
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|<script>|<style|\sstyle=|\son\w+=|innerHTML", text)


async def test_no_secret_is_told(dead: list[bytes], watched: dict[str, str], receiver: Receiver, ask: Ask) -> None:
    """Of CDRs nothing, of URLs no user info, and the token never."""
    for path in ("/", "/api/status", "/metrics", "/api/dead-letters", "/readyz"):
        _, text = await ask(path)
        assert "0825550142" not in text
        assert TOKEN not in text


async def test_no_secret_of_the_configuration_is_told(
    watched: dict[str, str], redis_server: EmbeddedRedis, receiver: Receiver, ask: Ask
) -> None:
    """Neither what lets us in, nor what we sign with."""
    secrets = {
        "CDR_WEBHOOK_URL": receiver.url.replace("//", "//ann:hunter2@") + "?key=hunter2",
        "CDR_WEBHOOK_SECRET": "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIy",
        "CDR_WEBHOOK_HEADERS": '{"x-key": "hunter2"}',
        "CDR_WEBHOOK_PROXY": "http://ann:hunter2@127.0.0.1:9",
    }
    async with running(settings_from(watched | secrets), QUICK) as service:
        await eventually(service.parts.sources[0].lease.holds)
        told = "".join([(await ask(path))[1] for path in ("/", "/metrics", "/readyz", "/nowhere")])
        told += json.dumps((await get(ask, "/api/status"))[1])
    assert "127.0.0.1" in told
    for secret in ("hunter2", "aHVudGVyMm", TOKEN):
        assert secret not in told


async def test_dead_letters_are_put_into_words(dead: list[bytes], ask: Ask) -> None:
    """All else is delivered; these nobody looks at by himself."""

    async def is_told() -> Any:
        [lane] = json.loads((await ask("/api/status"))[1])["lanes"]
        return lane["words"] if lane["dead"] else None

    assert await eventually(is_told) == "idle: all is delivered, waiting for CDRs; 3 dead letters want a decision"


async def test_recent_events_are_in_the_status(dead: list[bytes], watched: dict[str, str], ask: Ask) -> None:
    """Without those of each single CDR at debug; of a process that logs."""
    status = (await get(ask, "/api/status"))[1]
    assert all(event["level"] != "debug" for event in status["private"]["events"])
    assert (status["actions"], status["trusted"]) == (True, True)


# --- dead letters


async def test_dead_letters_are_listed_without_their_cdrs(dead: list[bytes], service: Service, ask: Ask) -> None:
    """To whoever has the token: others see only their number."""
    assert (await ask("/api/dead-letters"))[0] == 401
    found = (await get(ask, "/api/dead-letters"))[1]
    assert found["number"] == 3
    assert {(letter["reason"], letter["status"], letter["endpoint"]) for letter in found["letters"]} == {
        ("rejected", 400, "webhook")
    }


async def test_a_cdr_is_shown_with_the_token(dead: list[bytes], ask: Ask) -> None:
    """And to nobody else."""
    letters = (await get(ask, "/api/dead-letters"))[1]["letters"]
    [wanted] = [letter["id"] for letter in letters if letter["bytes"] == len(SECRET_CDR)]
    path = f"/api/dead-letters/{wanted}"
    assert (await ask(path))[0] == 401
    status, text = await ask(path, headers={"authorization": f"Bearer {TOKEN}"})
    assert status == 200
    assert SECRET_CDR.decode() in [letter.get("cdr") for letter in json.loads(text)]


async def replayed(ask: Ask) -> tuple[int, bool, dict[str, Any]]:
    """Replay all, and return how many were, whether there are more, and what `outcome` wants to know."""
    status, found = await post(ask, "/api/dead-letters/replay", all=True)
    assert status == 200
    return found["done"], found["more"], {name: found[name] for name in ("replayed", "since")}


async def test_replay_delivers_them(dead: list[bytes], receiver: Receiver, ask: Ask) -> None:
    """After a rehearsal that only counts."""
    counted = [{"endpoint": "webhook", "source": "cdr", "reason": "rejected", "status": 400, "number": 3}]
    found = await post(ask, "/api/dead-letters/replay", all=True, dry_run=True)
    assert found == (200, {"matching": 3, "of": counted})
    assert receiver.bodies.total() == 0
    assert (await replayed(ask))[:2] == (3, False)
    await eventually(lambda: receiver.bodies.keys() == set(dead))


@pytest.mark.parametrize("timings", [replace(QUICK, letters_at_once=2)], indirect=True, ids=["two"])
async def test_many_are_replayed_a_piece_at_a_time(dead: list[bytes], receiver: Receiver, ask: Ask) -> None:
    """So no request takes long, and whoever sends the next one goes on."""
    assert (await replayed(ask))[:2] == (2, True)
    assert (await replayed(ask))[:2] == (1, False)


async def test_drop_removes_what_was_chosen(dead: list[bytes], client: Redis, service: Service, ask: Ask) -> None:
    """And only that."""
    letters = (await get(ask, "/api/dead-letters"))[1]["letters"]
    assert await post(ask, "/api/dead-letters/drop", ids=[letters[1]["id"]]) == (200, {"done": 1, "more": False})
    assert await post(ask, "/api/dead-letters/drop", reason="gave_up") == (200, {"done": 0, "more": False})
    assert await client.llen(service.parts.sources[0].topology.short.dead) == 2


@pytest.mark.parametrize("path", ["/api/dead-letters/replay", "/api/dead-letters/drop"])
@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], "\xff"])
async def test_nobody_acts_without_the_token(
    path: str, token: str, dead: list[bytes], client: Redis, service: Service, ask: Ask
) -> None:
    """Nor sees how many there would be."""
    status, text = await post(ask, path, token=token, all=True)
    assert (status, text) == (401, "needs CDR_OPS_TOKEN\n")
    assert await client.llen(service.parts.sources[0].topology.short.dead) == 3


async def test_without_a_token_nobody_acts_at_all(watched: dict[str, str], ask: Ask) -> None:
    """Off by default."""
    del watched["CDR_OPS_TOKEN"]
    async with running(settings_from(watched), QUICK) as service:
        await eventually(service.parts.sources[0].lease.holds)
        status, text = await post(ask, "/api/dead-letters/drop", token="", all=True)
        assert json.loads((await ask("/api/status"))[1])["actions"] is False
    assert (status, text) == (403, "not allowed: CDR_OPS_TOKEN is not set\n")


async def test_a_form_of_another_site_cannot_act(dead: list[bytes], ask: Ask) -> None:
    """A browser sends a form without asking; JSON it does not."""
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "text/plain"}
    assert (await ask("/api/dead-letters/drop", "POST", content='{"all": true}', headers=headers))[0] == 415


KNOWN: Final = "endpoint, source, ids, reason, status, text, older_than, all, dry_run"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "say which: ids, endpoint, source, reason, status, text, older_than, or all"),
        ({"endpoint": "crm"}, "there is no such endpoint; there are webhook"),
        ({"older_than": "soon"}, "older_than must be a duration, such as 90s, 15m, 12h, 3d or 2w"),
        ({"ids": [1]}, "ids must be strings"),
        ({"id": "cdr_1"}, f"'id' is not one of {KNOWN}, or not of its type"),
        ({"all": 1}, f"'all' is not one of {KNOWN}, or not of its type"),
    ],
)
async def test_what_makes_no_sense_is_refused(body: dict[str, Any], said: str, service: Service, ask: Ask) -> None:
    """With a sentence that says what would."""
    assert await post(ask, "/api/dead-letters/drop", **body) == (400, f"{said}\n")


@pytest.mark.parametrize(
    "sent",
    [
        *(b"", b"\x00" * 100, b"GET", b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000, b"GET /" + b"a" * 100_000),
        b"POST /api/dead-letters/drop HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /api/dead-letters/drop HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/dead-letters/drop HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + TOKEN.encode() + b"\r\n"
        b"content-type: application/json\r\ncontent-length: 200000\r\n\r\n" + b"[" * 200_000,
        b"GET /%00%ff../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
async def test_what_is_malformed_does_no_harm(
    sent: bytes, world: World, service: Service, watched: dict[str, str], ask: Ask
) -> None:
    """Deliveries go on, and so do answers to others."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(watched["CDR_OPS_PORT"]))
    writer.write(sent)
    await world.redis.rpush(world.source, b"cdr")
    await eventually(lambda: world.receiver.bodies == {b"cdr": 1})
    assert (await ask("/livez"))[0] == 200
    writer.close()
    assert b" 200 " not in (await reader.read())[:20]


@pytest.mark.parametrize("path", ["/nowhere", "/api/dead-letters/drop", "/livez"])
async def test_a_body_that_breaks_off_is_refused_once(path: str, service: Service, watched: dict[str, str]) -> None:
    """In the packet of its head, before whoever answers has begun: no second answer, and no traceback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(watched["CDR_OPS_PORT"]))
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    with capture_logs() as said:
        writer.write(head.encode() + b"zz\r\n")
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert not {event["event"] for event in said} & {"operator_server.failed", "library.reported"}


async def test_slow_requests_do_no_harm(world: World, service: Service, watched: dict[str, str], ask: Ask) -> None:
    """A hundred callers that never come to an end keep nobody else from an answer, nor a CDR from its endpoint."""
    callers = [await asyncio.open_connection("127.0.0.1", int(watched["CDR_OPS_PORT"])) for _ in range(100)]
    for _, writer in callers:
        writer.write(b"POST /api/dead-letters/drop HTTP/1.1\r\nhost: x\r\ncontent-length: 10")
    await world.redis.rpush(world.source, b"cdr")
    await eventually(lambda: world.receiver.bodies == {b"cdr": 1})
    assert (await ask("/livez"))[0] == 200
    for _, writer in callers:
        writer.close()


@pytest.mark.parametrize("seed", range(5))
async def test_nothing_that_is_sent_does_harm(
    seed: int, world: World, service: Service, watched: dict[str, str], ask: Ask
) -> None:
    """Requests with bytes changed, left out and put in at random: none drops a dead letter, and all go on."""
    await world.redis.rpush(service.parts.sources[0].topology.short.dead, SECRET_CDR)
    chance = Random(seed)
    body = b'{"all": true, "dry_run": true}'
    request = b"POST /api/dead-letters/drop HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n" % TOKEN[:-1].encode()
    request += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    for _ in range(40):
        sent = bytearray(request)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(sent))
            sent[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        _, writer = await asyncio.open_connection("127.0.0.1", int(watched["CDR_OPS_PORT"]))
        writer.write(sent)
        writer.close()
    await world.redis.rpush(world.source, b"cdr")
    await eventually(lambda: world.receiver.bodies == {b"cdr": 1})
    assert (await ask("/livez"))[0] == 200
    assert await world.redis.llen(service.parts.sources[0].topology.short.dead) == 1


async def test_a_redis_that_is_away_is_an_answer(
    own_redis: EmbeddedRedis, receiver: Receiver, integrator: str, watched: dict[str, str], ask: Ask
) -> None:
    """And no traceback."""
    variables = watched | environment(own_redis.url, receiver.url, integrator)
    async with running(settings_from(variables | {"CDR_OPS_PORT": watched["CDR_OPS_PORT"]}), QUICK) as service:
        await eventually(service.parts.sources[0].lease.holds)
        await asyncio.to_thread(own_redis.kill)
        status, text = await get(ask, "/api/dead-letters")
        assert status == 503
        assert "Traceback" not in text
        await asyncio.to_thread(own_redis.start)
