"""The operator server of a process with two sources on two Redis servers: it names them, and shows one that is away."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis

from app.cdr import webhook_id
from app.demo.embedded import EmbeddedRedis, free_port
from app.service import Service
from tests.process.ops.conftest import QUICK, TOKEN
from tests.support.harness import eventually, running, settings_from
from tests.support.letters import raw_letter
from tests.support.receiver import Receiver

TRUSTED: Final = {"authorization": f"Bearer {TOKEN}"}
OTHERS: Final = 25
"""More dead letters than one answer of a search has."""

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
async def service(variables: dict[str, str], integrator: str, own_redis: EmbeddedRedis) -> AsyncIterator[Service]:
    del variables["CDR_SOURCE_KEY"]
    more = {
        "CDR_OPS_PORT": str(free_port()),
        "CDR_OPS_TOKEN": TOKEN,
        "CDR_SOURCES__CALLS__KEY": f"{integrator}-calls",
        "CDR_SOURCES__CAMPAIGNS__KEY": f"{integrator}-campaigns",
        "CDR_SOURCES__CAMPAIGNS__REDIS_URL": own_redis.url,
    }
    async with running(settings_from(variables | more), QUICK) as service:
        await eventually(lambda: all(source.lease.holds() for source in service.parts.sources))
        yield service


@pytest.fixture
async def ask(service: Service) -> AsyncIterator[Ask]:
    """Ask with the token; return JSON, or the text of what is refused."""
    url = f"http://127.0.0.1:{service.parts.settings.ops_port}"
    async with httpx.AsyncClient(base_url=url, headers=TRUSTED, trust_env=False, timeout=20) as http:

        async def ask(path: str, body: Any = None) -> Any:
            method = "GET" if body is None else "POST"
            answer = await http.request(method, path, json=body)
            return answer.json() if answer.is_success else answer.text

        yield ask


async def bury(integrator: str, client: Redis, own_client: Redis) -> None:
    calls = [raw_letter(b"call %d" % number) for number in range(OTHERS)]
    await client.rpush(f"{integrator}:dead:calls", *calls, raw_letter(b"twin"))
    await own_client.rpush(f"{integrator}:dead:campaigns", raw_letter(b"campaign"), raw_letter(b"twin"))


async def test_the_status_names_the_source_of_each_lane(ask: Ask, integrator: str, own_client: Redis) -> None:
    """And shows one whose Redis is away as such, while the other goes on."""

    async def is_known(condition: Callable[[Any], bool]) -> Any:
        found = await ask("/api/status")
        return found if condition(found) else None

    found = await eventually(lambda: is_known(lambda found: len(found["processes"]) == 2))
    assert [lane["source"] for lane in found["lanes"]] == ["calls", "campaigns"]
    assert [process["source"] for process in found["processes"]] == ["calls", "campaigns"]
    assert all(process["answers"] for process in found["processes"])
    assert [one["source_key"] for one in found["sources"]] == [f"{integrator}-calls", f"{integrator}-campaigns"]
    minutes = await ask("/api/minutes")
    assert {lane["source"] for lane in minutes["lanes"]} == {"calls", "campaigns"}
    await own_client.shutdown(nosave=True)
    found = await eventually(lambda: is_known(lambda found: not found["sources"][1]["redis_up"]))
    assert [one["redis_up"] for one in found["sources"]] == [True, False]
    states = {lane["source"]: lane["state"] for lane in found["lanes"]}
    assert states == {"calls": "idle", "campaigns": "unknown"}
    assert [one["short"] for one in found["troubles"]] == ["Source campaigns: Redis does not answer"]


async def test_a_process_is_asked_by_the_command(
    service: Service, ask: Ask, start_child: Callable[..., Awaitable[Any]]
) -> None:
    """`status --url` says which lane it is."""
    await eventually(lambda: ask("/api/status"))
    url = f"http://127.0.0.1:{service.parts.settings.ops_port}"
    child = await start_child({}, "status", "--url", url)
    assert await child.ended() == 0
    assert re.search(r"^webhook, from campaigns: idle", child.log.read_text(), re.MULTILINE)


async def test_dead_letters_of_all_sources_are_searched(
    ask: Ask, integrator: str, client: Redis, own_client: Redis
) -> None:
    """One lane after the other; or those of one source; a twin is in both."""
    await bury(integrator, client, own_client)
    first = await ask("/api/dead-letters/search", {})
    second = await ask("/api/dead-letters/search", {"after": first["next"]})
    assert (first["number"], len(first["letters"]), len(second["letters"])) == (OTHERS + 3, 20, OTHERS + 3 - 20)
    assert (second["next"], second["unread"]) == (None, [])
    found = await ask("/api/dead-letters/search", {"source": "campaigns"})
    assert [letter["source"] for letter in found["letters"]] == ["campaigns"] * 2
    assert len(await ask(f"/api/dead-letters/{webhook_id(b'twin')}")) == 2
    assert await ask("/api/dead-letters?source=cdr") == "there is no such source; there are calls, campaigns\n"


async def test_a_page_that_ends_with_a_lane_goes_on_with_the_next(
    ask: Ask, integrator: str, client: Redis, own_client: Redis
) -> None:
    await client.rpush(f"{integrator}:dead:calls", *(raw_letter(b"call %d" % number) for number in range(20)))
    await own_client.rpush(f"{integrator}:dead:campaigns", raw_letter(b"campaign"))
    first = await ask("/api/dead-letters/search", {})
    second = await ask("/api/dead-letters/search", {"after": first["next"]})
    assert [letter["source"] for letter in second["letters"]] == ["campaigns"]


async def test_a_replay_is_followed_in_each_source(
    ask: Ask, integrator: str, client: Redis, own_client: Redis, receiver: Receiver
) -> None:
    """It reaches the retry set of the source that the CDR came from; what it did is counted there."""
    await bury(integrator, client, own_client)
    answer = await ask("/api/dead-letters/replay", {"text": "twin"})
    assert (answer["done"], set(answer["replayed"])) == (2, {"calls:webhook", "campaigns:webhook"})
    await eventually(lambda: receiver.bodies[b"twin"] == 2)
    followed = {name: answer[name] for name in ("replayed", "since")}

    async def is_delivered() -> bool:
        return bool((await ask("/api/dead-letters/outcome", followed))["delivered"] == 2)

    await eventually(is_delivered)


async def test_a_source_that_is_away_is_named_and_the_others_are_done(
    ask: Ask, service: Service, integrator: str, client: Redis, own_client: Redis
) -> None:
    """At once where it is known already; alone, it is a refusal."""
    await bury(integrator, client, own_client)
    await own_client.shutdown(nosave=True)
    await eventually(lambda: not service.parts.sources[1].observed.redis_up)
    found = await ask("/api/dead-letters/search", {"text": "twin"})
    assert ([letter["source"] for letter in found["letters"]], found["unread"]) == (["calls"], ["campaigns"])
    assert await ask("/api/dead-letters/search", {"source": "campaigns"}) == "Redis does not answer\n"
    counted = await ask("/api/dead-letters/drop", {"text": "twin", "dry_run": True})
    assert (counted["matching"], counted["of"][0]["source"]) == (1, "calls")
    assert await ask("/api/dead-letters/drop", {"text": "twin"}) == {"done": 1, "more": False, "unread": ["campaigns"]}
    assert json.loads((await client.lrange(f"{integrator}:dead:calls", -1, -1))[0])["cdr"] == f"call {OTHERS - 1}"


async def test_a_probe_is_that_of_whichever_source_has_a_cdr(
    ask: Ask, service: Service, integrator: str, own_client: Redis, receiver: Receiver
) -> None:
    """The breaker is the endpoint's: what is tried, and its result, may be another source's than the first."""
    receiver.status = 503
    await own_client.rpush(f"{integrator}-campaigns", *(b"%d" % number for number in range(40)))
    breaker = service.parts.endpoints["webhook"].gate.breaker
    await eventually(lambda: not breaker.is_closed)
    probed = await ask("/api/endpoints/webhook/probe", {})
    assert (probed["outcome"], probed["result"]) == ("still down", "503")
