"""What the status tells of all processes together, and to whom; over a real socket."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis, free_port
from app.service import Service
from tests.process.ops.conftest import QUICK, TOKEN, become_dead
from tests.support.certificates import Authority
from tests.support.harness import eventually, running, settings_from
from tests.support.http_faults import NO_CONTENT, answers, serve
from tests.support.letters import raw_letter
from tests.support.receiver import Receiver
from tests.support.world import World

TRUSTED: Final = {"authorization": f"Bearer {TOKEN}"}
CDR: Final = b'{"number": "0825550142"}'


@pytest.fixture
async def http(watched: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://127.0.0.1:{watched['CDR_OPS_PORT']}"
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        yield client


async def status_of(http: httpx.AsyncClient, **headers: str) -> dict[str, Any]:
    answer = await http.get("/api/status", headers=headers)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def status_when(http: httpx.AsyncClient, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for a status of which that is true, and return it."""

    async def found() -> dict[str, Any] | None:
        status = await status_of(http)
        return status if condition(status) else None

    status: dict[str, Any] = await eventually(found)
    return status


async def post(http: httpx.AsyncClient, path: str, body: Any, status: int = 200) -> Any:
    answer = await http.post(path, json=body, headers=TRUSTED)
    assert answer.status_code == status
    return answer.json() if status == 200 else answer.text


# --- all processes in one view


async def test_all_processes_are_in_one_view(
    world: World, service: Service, watched: dict[str, str], http: httpx.AsyncClient
) -> None:
    """Whichever of them answers; and what each delivered is counted once."""
    await world.launch(watched | {"CDR_OPS_PORT": str(free_port())}, "run")
    await status_when(http, lambda found: len(found["processes"]) == 2)
    await world.redis.rpush(world.source, *[b"cdr %d" % number for number in range(300)])
    found = await status_when(http, lambda found: found["lanes"][0]["delivered_today"] == 300)
    assert sum(process["delivered"] for process in found["processes"]) <= 300
    assert [process["answers"] for process in found["processes"]].count(True) == 1


async def another_process(service: Service, client: Redis, source: str) -> None:
    """Let the second slot belong to a process for which the endpoint is down."""
    slot = service.parts.sources[0].topology.short.slot(2)
    owner = {"id": "another", "host": "elsewhere", "source": source, "lease_ms": 60_000}
    report = {"id": "another", "endpoints": {"webhook": {"breaker": "open", "failing_with": "401"}}}
    await client.set(slot.owner, json.dumps(owner), px=60_000)
    await client.set(slot.report, json.dumps(report), px=60_000)


async def test_what_only_another_process_knows_is_told(
    service: Service, client: Redis, source: str, http: httpx.AsyncClient
) -> None:
    """An endpoint that is down for one of two is not called well."""
    await another_process(service, client, source)
    found = await status_when(http, lambda found: found["level"] == "bad")
    assert found["short"] == "webhook is down"
    assert found["lanes"][0]["words"].startswith(
        "for 1 of 2 processes down since ? (401: wrong secret or credentials?)"
    )


async def test_many_who_ask_cost_redis_one_look(
    watched: dict[str, str], receiver: Receiver, client: Redis, http: httpx.AsyncClient
) -> None:
    """However often the page is asked for: deliveries need that time."""
    async with running(settings_from(watched), replace(QUICK, sample=60, overview=60)) as service:
        await eventually(service.parts.sources[0].lease.holds)
        await status_of(http)

        async def scripts() -> int:
            found: int = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
            return found

        before = await scripts()
        await asyncio.gather(*[status_of(http) for _ in range(20)])
        for _ in range(20):
            await status_of(http)
        assert await scripts() - before < 100  # five scripts for a look, and what the forwarder runs itself


async def test_a_redis_that_is_away_is_told(
    own_redis: EmbeddedRedis, receiver: Receiver, watched: dict[str, str], http: httpx.AsyncClient
) -> None:
    """It says what was seen last, how long ago, and that nothing is known now."""
    variables = watched | {"CDR_REDIS_URL": own_redis.url}
    async with running(settings_from(variables), QUICK) as service:
        await eventually(service.parts.sources[0].lease.holds)
        await status_when(http, lambda found: found["level"] == "good")
        await asyncio.to_thread(own_redis.kill)
        found = await status_when(http, lambda found: not found["redis"]["up"])
        assert (found["level"], found["short"]) == ("bad", "Redis does not answer")
        assert {lane["state"] for lane in found["lanes"]} == {"unknown"}
        assert found["seen_seconds_ago"] >= 0
        await asyncio.to_thread(own_redis.start)
        await status_when(http, lambda found: found["level"] == "good")


async def test_a_login_that_is_refused_is_one_trouble(
    own_redis: EmbeddedRedis, own_client: Redis, receiver: Receiver, watched: dict[str, str], http: httpx.AsyncClient
) -> None:
    """That there is no processing list follows from it, and is not said."""
    async with running(settings_from(watched | {"CDR_REDIS_URL": own_redis.url}), QUICK) as service:
        await eventually(service.parts.sources[0].lease.holds)
        await own_client.config_set("requirepass", "changed")
        await own_client.client_kill_filter(_type="normal", skipme=True)
        found = await status_when(http, lambda found: "refuses" in found["short"])
        assert [one["short"] for one in found["troubles"]] == ["Redis refuses our login"]
        await own_client.config_set("requirepass", "")
        await status_when(http, lambda found: found["level"] == "good")


async def test_a_client_that_pops_is_a_note_and_no_warning(
    own_redis: EmbeddedRedis, receiver: Receiver, watched: dict[str, str], http: httpx.AsyncClient
) -> None:
    """Its list may be another one than ours; a warning that never ends is not read."""
    async with running(settings_from(watched | {"CDR_REDIS_URL": own_redis.url}), QUICK) as service:
        await eventually(service.parts.sources[0].lease.holds)
        async with Redis.from_url(own_redis.url, client_name="old-script") as script:
            await script.lpop("a-list")
            found = await status_when(http, lambda found: found["short"] == "Other clients take from lists")
            assert found["level"] == "good"
        await status_when(http, lambda found: found["short"] == "All is well")


async def test_a_certificate_that_ends_soon_is_a_trouble(
    watched: dict[str, str], client: Redis, source: str, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    """It is seen at the handshake of an attempt, long before nothing can be delivered any more."""
    authority = Authority(tmp_path)
    tls = authority.server(ends=datetime.now(UTC) + timedelta(days=5, hours=1))
    async with serve(answers(NO_CONTENT), tls) as server:
        variables = watched | {"CDR_WEBHOOK_URL": server.url, "CDR_WEBHOOK_CA_FILE": str(authority.ca_file)}
        async with running(settings_from(variables), QUICK):
            await client.rpush(source, CDR)
            found = await status_when(http, lambda found: found["short"].endswith("ends soon"))
    assert (found["level"], found["short"]) == ("warning", "webhook has a certificate that ends soon")
    assert found["troubles"][0]["words"].endswith("; its certificate ends in 5 days: have it renewed")


async def test_an_answer_does_not_wait_for_a_redis_that_hangs(
    own_redis: EmbeddedRedis, own_client: Redis, receiver: Receiver, watched: dict[str, str], http: httpx.AsyncClient
) -> None:
    """Whoever looks at the page when something is wrong must not wait for what is wrong."""
    variables = watched | {"CDR_REDIS_URL": own_redis.url}
    async with running(settings_from(variables), replace(QUICK, overview=0, overview_wait=0.2)) as service:
        await eventually(service.parts.sources[0].lease.holds)
        await status_when(http, lambda found: found["level"] == "good")
        await own_client.client_pause(4000)
        began = time.monotonic()
        await status_of(http)
        assert time.monotonic() - began < 2
        await own_client.client_unpause()


async def test_minutes_are_those_of_all_processes(service: Service, client: Redis, http: httpx.AsyncClient) -> None:
    """An hour or a day of them; more nobody has."""
    now, key = int(time.time() // 60), service.parts.sources[0].topology.short.minutes
    await client.hset(key, mapping={str(now - 20): "7 1 3", str(now - 600): "5 0 0"})

    async def found(hours: int) -> list[list[int]]:
        [lane] = (await http.get(f"/api/minutes?hours={hours}")).json()["lanes"]
        assert lane["endpoint"] == "webhook"
        return [minute for minute in lane["minutes"] if minute[1]]

    await eventually(lambda: found(24))
    assert await found(1) == [[now - 20, 7, 1, 3]]
    assert await found(24) == [[now - 600, 5, 0, 0], [now - 20, 7, 1, 3]]
    for hours in ("25", "-1", "x", ""):
        assert (await http.get(f"/api/minutes?hours={hours}")).status_code == 400


# --- what neighbours see


async def test_a_neighbour_gets_numbers_and_states(
    service: Service, client: Redis, receiver: Receiver, source: str, http: httpx.AsyncClient
) -> None:
    """And whoever has the token also addresses, hosts and events; a wrong token is no neighbour."""
    await become_dead([CDR], client, receiver, service, source)
    public = await status_when(http, lambda found: found["lanes"][0]["dead"] == 1)
    minutes = (await http.get("/api/minutes")).text
    named = ("127.0.0.1", socket.gethostname(), source, "cdr_", service.parts.process_id)
    assert not [name for name in named if name in json.dumps(public) + minutes]
    assert (public["private"], public["trusted"]) == (None, False)
    trusted = await status_of(http, **TRUSTED)
    assert trusted["lanes"][0]["url"].startswith("http://127.0.0.1:")
    assert trusted["private"]["source_key"] == source
    assert trusted["processes"][0]["host"] == socket.gethostname()
    assert (await http.get("/api/status", headers={"authorization": "Bearer wrong"})).status_code == 401


# --- probe


async def goes_down(client: Redis, receiver: Receiver, service: Service, source: str, status: int = 503) -> None:
    """Let the breaker open, and the next probe be an hour away."""
    receiver.status = status
    await client.rpush(source, *[b"cdr %d" % number for number in range(50)])
    lane = service.parts.lanes[0].lane
    breaker = lane.gate.breaker
    await eventually(lambda: breaker.state.value == "open" and breaker.is_gone == (status == 410))
    await eventually(lambda: breaker.state.value == "open" and not lane.in_flight.number)
    breaker.probe_at = time.monotonic() + 3600


@pytest.mark.parametrize("status", [503, 410])
async def test_an_endpoint_that_is_down_is_tried_at_once(
    status: int, service: Service, client: Redis, receiver: Receiver, source: str, http: httpx.AsyncClient
) -> None:
    """Also one that is gone, or asked for time: an operator knows better. The answer says what came of it."""
    await goes_down(client, receiver, service, source, status)
    service.parts.lanes[0].lane.gate.hold(600)
    found = await post(http, "/api/endpoints/webhook/probe", None)
    assert (found["outcome"], found["result"]) == ("still down", str(status))
    receiver.status = 204
    found = await post(http, "/api/endpoints/webhook/probe", None)
    assert (found["outcome"], found["words"]) == ("back", "webhook has answered 204: it is back")
    await eventually(lambda: receiver.bodies.total() == 50)


async def test_a_probe_says_that_others_have_yet_to_find_out(
    service: Service, client: Redis, receiver: Receiver, source: str, http: httpx.AsyncClient
) -> None:
    """Each process has a breaker of its own; after 410 the next probe there may be an hour away."""
    await another_process(service, client, source)
    await goes_down(client, receiver, service, source)
    receiver.status = 204
    found = await post(http, "/api/endpoints/webhook/probe", None)
    assert "it is back; 1 other process has yet to find out" in found["words"]


async def test_a_probe_that_is_asked_for_twice_is_one(
    service: Service, client: Redis, receiver: Receiver, source: str, http: httpx.AsyncClient
) -> None:
    """Two operators, or one who is impatient: the endpoint gets one CDR, and both get the answer."""
    await goes_down(client, receiver, service, source)
    receiver.gate.clear()
    before = len(receiver.arrivals)
    asking = [asyncio.create_task(post(http, "/api/endpoints/webhook/probe", None)) for _ in range(2)]
    await eventually(lambda: receiver.at_the_gate == 1)
    receiver.status = 204
    receiver.gate.set()
    assert [(await each)["outcome"] for each in asking] == ["back", "back"]
    assert len(receiver.arrivals) > before


async def test_a_probe_that_is_not_needed_or_not_possible_says_so(
    service: Service, client: Redis, receiver: Receiver, source: str, http: httpx.AsyncClient
) -> None:
    """Nothing is down; there is no such endpoint; there is nothing to try it with."""
    assert (await post(http, "/api/endpoints/webhook/probe", None))["outcome"] == "not down"
    assert "there is no such endpoint; there are webhook" in await post(http, "/api/endpoints/crm/probe", None, 400)
    await goes_down(client, receiver, service, source)
    await client.delete(
        source, service.parts.sources[0].topology.short.retry, service.parts.sources[0].topology.short.retrying
    )
    assert (await post(http, "/api/endpoints/webhook/probe", None))["outcome"] == "nothing to try"


async def test_nobody_probes_without_the_token(service: Service, http: httpx.AsyncClient) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}):
        assert (await http.post("/api/endpoints/webhook/probe", headers=headers)).status_code == 401


# --- searching dead letters, and following a replay


async def fill(client: Redis, service: Service, *letters: bytes) -> None:
    await client.rpush(service.parts.sources[0].topology.short.dead, *letters)


async def test_dead_letters_are_searched_and_paged(service: Service, client: Redis, http: httpx.AsyncClient) -> None:
    """The newest first, by what stands in the CDR, by id, reason and status."""
    await fill(client, service, *[raw_letter(b'{"Call": "C2D-%d"}' % number) for number in range(50)])
    await fill(client, service, raw_letter(b"other", reason="gave_up", status=503), b"damaged")
    search = partial(post, http, "/api/dead-letters/search")
    first = await search({})
    assert (first["number"], len(first["letters"])) == (52, 20)
    assert [letter["reason"] for letter in first["letters"][:3]] == ["damaged", "gave_up", "rejected"]
    second = await search({"after": first["next"]})
    third = await search({"after": second["next"]})
    assert (len(second["letters"]), len(third["letters"]), third["next"]) == (20, 12, None)
    [found] = (await search({"text": "c2d-17"}))["letters"]
    assert "C2D" not in json.dumps(found)
    assert (await search({"text": "Call=c2d-17"}))["letters"] == [found]
    assert (await search({"id": found["id"]}))["letters"] == [found]
    assert len((await search({"reason": "gave_up", "status": 503}))["letters"]) == 1
    assert (await search({"text": "c2d", "status": 503}))["letters"] == []
    wrongs: list[Any] = [
        {"after": "x:1"},
        {"after": "webhook:-1"},
        {"text": 1},
        {"letters": []},
        [],
        {"endpoint": "crm"},
    ]
    for wrong in wrongs:
        await search(wrong, 400)


async def test_one_of_twins_can_be_chosen(service: Service, client: Redis, http: httpx.AsyncClient) -> None:
    """They share the id of the CDR; each letter has its own."""
    await fill(client, service, raw_letter(b"twin"), raw_letter(b"twin"))
    letters = (await post(http, "/api/dead-letters/search", {}))["letters"]
    assert letters[0]["id"] == letters[1]["id"]
    assert (await post(http, "/api/dead-letters/drop", {"ids": [letters[0]["letter"]]}))["done"] == 1
    assert (await post(http, "/api/dead-letters/search", {}))["letters"] == letters[1:]


async def test_a_replay_is_followed_to_its_end(
    service: Service, client: Redis, receiver: Receiver, source: str, http: httpx.AsyncClient
) -> None:
    """Waiting while it fails, then delivered, or dead again; a twin that stayed dead does not count."""
    await fill(client, service, raw_letter(b"good"), raw_letter(b"bad"))
    receiver.judge = lambda _: 503
    replayed = await post(http, "/api/dead-letters/replay", {"all": True})
    replay = {name: replayed[name] for name in ("replayed", "since")}
    outcome = partial(post, http, "/api/dead-letters/outcome", replay)
    assert (await outcome())["delivered"] == 0

    async def is_waiting() -> bool:
        return bool(await outcome() == {"waiting": 2, "dead": 0, "delivered": 0, "complete": True})

    await eventually(is_waiting)
    receiver.judge = lambda body: 400 if body == b"bad" else 204

    async def has_ended() -> bool:
        await client.rpush(source, b"accepted between two rejections")
        return bool(await outcome() == {"waiting": 0, "dead": 1, "delivered": 1, "complete": True})

    await eventually(has_ended)


@pytest.mark.parametrize(
    "body", [{}, [], {"replayed": [], "since": "x"}, {"replayed": {"webhook": 1}, "since": "2026-01-01T00:00:00+00:00"}]
)
async def test_what_was_never_replayed_is_refused(body: Any, service: Service, http: httpx.AsyncClient) -> None:
    """With a sentence."""
    assert "must be those of the answer to a replay" in await post(http, "/api/dead-letters/outcome", body, 400)
