"""Commands where several sources are configured, on two Redis servers: a broken one stops no other."""

import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from app.cdr import Cdr, webhook_id
from app.dead_letters.letter import dead_letter
from app.demo.embedded import EmbeddedRedis
from app.store.retry_set import read_member
from tests.conftest import StartChild
from tests.support.harness import eventually
from tests.support.letters import ONCE

NOWHERE: Final = "redis://127.0.0.1:1/0"

Run = Callable[..., Awaitable[tuple[int, str]]]


@dataclass
class Two:
    """Two sources, `calls` on the shared server and `campaigns` on another one, and what the commands say."""

    integrator: str
    calls: Redis
    campaigns: Redis
    variables: dict[str, str]
    run: Run

    def list_of(self, source: str) -> str:
        return f"{self.integrator}-{source}"

    def key(self, place: str, source: str) -> str:
        return f"{self.integrator}:{place}:{source}"


@pytest.fixture
async def two(
    variables: dict[str, str],
    client: Redis,
    own_redis: EmbeddedRedis,
    own_client: Redis,
    integrator: str,
    start_child: StartChild,
) -> Two:
    del variables["CDR_SOURCE_KEY"]
    variables |= {
        "CDR_SOURCES__CALLS__KEY": f"{integrator}-calls",
        "CDR_SOURCES__CAMPAIGNS__KEY": f"{integrator}-campaigns",
        "CDR_SOURCES__CAMPAIGNS__OLDEST": "tail",
        "CDR_SOURCES__CAMPAIGNS__REDIS_URL": own_redis.url,
    }

    async def run(*words: str, **more: str) -> tuple[int, str]:
        child = await start_child(variables | more, *words)
        status = await child.ended(60)
        assert "Traceback" not in child.log.read_text()
        return status, child.log.read_text()

    return Two(integrator, client, own_client, variables, run)


@pytest.fixture
def broken(two: Two) -> Two:
    """The same, and the Redis of `calls` lets us in no more, which is known at once."""
    two.variables["CDR_REDIS_URL"] = two.variables["CDR_REDIS_URL"].replace("//", "//:wrong@")
    return two


def letter(body: bytes, source: str) -> bytes:
    return dead_letter(
        cdr=Cdr(body), endpoint="webhook", source=source, reason="rejected", status=400, answer=b"", history=ONCE
    )


async def bury(two: Two) -> None:
    """Put three dead letters into each source; `twin` is in both."""
    for client, source in (two.calls, "calls"), (two.campaigns, "campaigns"):
        bodies = [source.encode(), b"twin", b"last of " + source.encode()]
        await client.rpush(two.key("dead", source), *(letter(body, source) for body in bodies))


async def deferred(client: Redis, key: str) -> list[bytes]:
    members: list[Any] = await client.zrange(key, 0, -1)
    return sorted(read_member(member)[1] for member in members)


def shown(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("words", [["dead-letters", "drop", "--yes"], ["reroute", "crm", "webhook"]])
async def test_a_source_that_there_is_not_is_one_line(words: list[str], two: Two) -> None:
    """With the names of those that there are; nothing is asked of any Redis."""
    status, said = await two.run(*words, "--source", "cdr", CDR_REDIS_URL=NOWHERE)
    assert (status, said) == (2, "--source: there is no cdr; there are calls, campaigns\n")


# --- dead letters


async def test_dead_letters_of_all_sources_are_listed(two: Two) -> None:
    """With the source of each; --source chooses, and a limit counts over all."""
    await bury(two)
    _, said = await two.run("dead-letters", "list")
    assert len(re.findall(r" webhook +campaigns +rejected ", said)) == 3
    assert said.endswith("6 dead letters\n")
    _, said = await two.run("dead-letters", "list", "--source", "CAMPAIGNS", "--json")
    assert {line["source"] for line in shown(said)} == {"campaigns"}
    _, said = await two.run("dead-letters", "list", "--limit", "4", "--json")
    assert [line["source"] for line in shown(said)] == ["calls"] * 3 + ["campaigns"]


async def test_an_id_is_found_in_each_source(two: Two) -> None:
    await bury(two)
    assert (await two.run("dead-letters", "show", webhook_id(b"twin")))[1].count('"cdr": "twin"') == 2
    _, said = await two.run("dead-letters", "show", webhook_id(b"twin"), "--source", "calls")
    assert (said.count('"cdr": "twin"'), said.count('"source": "calls"')) == (1, 1)


async def test_each_source_gets_its_own_back(two: Two) -> None:
    """A replay puts a CDR into the retry set of the source that it came from, and a drop counts over all."""
    await bury(two)
    assert await two.run("dead-letters", "replay", "--limit", "5") == (0, "5 replayed\n")
    assert await deferred(two.calls, two.key("retry", "calls")) == [b"calls", b"last of calls", b"twin"]
    assert await deferred(two.campaigns, two.key("retry", "campaigns")) == [b"campaigns", b"twin"]
    assert await two.run("dead-letters", "drop", "--all", "--yes") == (0, "1 dropped\n")
    done = [json.loads(value) for value in await two.campaigns.lrange(two.key("operations", "campaigns"), 0, -1)]
    assert [(one["action"], one["number"]) for one in done] == [("replay", 2), ("drop", 1)]


async def test_a_broken_source_is_told_and_the_others_are_done(broken: Two) -> None:
    """By name, with what is wrong, and by the exit status."""
    await bury(broken)
    wrong = r"source calls: CDR_REDIS_URL: redis://127\.0\.0\.1:\d+/\*\*\* refuses our login"
    status, said = await broken.run("dead-letters", "list", "--json")
    assert (status, len(shown(said))) == (1, 3)
    assert re.match(wrong, said.splitlines()[-1])
    status, said = await broken.run("dead-letters", "replay", "--limit", "2")
    assert status == 1
    assert said.startswith("2 replayed; source calls was cut short\nsource calls: ")
    assert await deferred(broken.campaigns, broken.key("retry", "campaigns")) == [b"campaigns", b"twin"]
    status, said = await broken.run("dead-letters", "drop", "--all", "--yes")
    assert (status, said.splitlines()[0]) == (1, "1 dropped; source calls was cut short")


async def test_without_any_source_nothing_is_said_to_be_done(broken: Two) -> None:
    wrong = broken.variables["CDR_SOURCES__CAMPAIGNS__REDIS_URL"].replace("//", "//:wrong@")
    status, said = await broken.run("dead-letters", "list", CDR_SOURCES__CAMPAIGNS__REDIS_URL=wrong)
    assert (status, [line.partition(": ")[0] for line in said.splitlines()]) == (
        1,
        ["source calls", "source campaigns"],
    )


async def test_an_endpoint_may_belong_to_one_source_only(two: Two) -> None:
    """It is looked for in all; one that is in none is named."""
    url = two.variables.pop("CDR_WEBHOOK_URL")
    two.variables |= {"CDR_ENDPOINTS__CRM__URL": url, "CDR_ENDPOINTS__BI__URL": url}
    two.variables["CDR_SOURCES__CAMPAIGNS__ENDPOINTS"] = "bi"
    await two.calls.rpush(f"{two.integrator}:crm:dead:calls", letter(b"a", "calls"))
    status, said = await two.run("dead-letters", "list", "--endpoint", "crm")
    assert (status, said.splitlines()[-1]) == (0, "1 dead letters")
    status, said = await two.run("dead-letters", "list", "--endpoint", "gone")
    assert (status, said) == (1, "--endpoint: there is no gone; there are crm, bi, webhook\n")
    await two.campaigns.rpush(f"{two.integrator}:crm:dead:campaigns", letter(b"b", "campaigns"))
    status, said = await two.run("dead-letters", "replay", "--endpoint", "bi", "--to", "crm")
    assert (status, said.splitlines()[-1]) == (1, "source campaigns: --to: it has no endpoint crm, but bi")
    status, said = await two.run("dead-letters", "replay", "--endpoint", "crm", "--to", "bi")
    assert (status, said) == (0, "2 replayed\n")
    assert await deferred(two.campaigns, f"{two.integrator}:bi:retry:campaigns") == [b"b"]


# --- inject and reroute


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2}\n')
    return str(path)


async def test_inject_wants_a_source(two: Two, file: str) -> None:
    """Nobody can tell where a CDR of a file came from."""
    status, said = await two.run("inject", file)
    assert (status, said) == (2, "--source: must say which, as there are several: calls, campaigns\n")


async def test_inject_appends_to_that_source(two: Two, file: str) -> None:
    """At its newest end, on its Redis, whether the other answers or not."""
    await two.campaigns.rpush(two.list_of("campaigns"), b"waits")
    status, said = await two.run("inject", file, "--source", "campaigns", CDR_REDIS_URL=NOWHERE)
    assert (status, said) == (0, f"2 CDRs pushed to {two.list_of('campaigns')}\n")
    assert await two.campaigns.lrange(two.list_of("campaigns"), 0, -1) == [b'{"n": 2}', b'{"n": 1}', b"waits"]


async def leave_behind(two: Two) -> None:
    await two.calls.rpush(f"{two.integrator}:crm:pending:calls", b"1", b"2")
    await two.campaigns.rpush(f"{two.integrator}:crm:pending:campaigns", b"3")


async def test_reroute_moves_what_each_source_left(two: Two) -> None:
    """Within its own keys, and with a line for each."""
    await leave_behind(two)
    _, said = await two.run("reroute", "crm", "webhook", "--dry-run")
    assert said.splitlines() == [
        f"source calls: 2 in {two.integrator}:crm:pending:calls",
        "source calls: 2 CDRs and 0 dead letters of crm would be moved to webhook",
        f"source campaigns: 1 in {two.integrator}:crm:pending:campaigns",
        "source campaigns: 1 CDRs and 0 dead letters of crm would be moved to webhook",
    ]
    status, said = await two.run("reroute", "crm", "webhook")
    assert status == 0
    assert said.splitlines() == [
        "source calls: 2 CDRs and 0 dead letters moved from crm to webhook",
        "source campaigns: 1 CDRs and 0 dead letters moved from crm to webhook",
    ]
    assert await deferred(two.calls, two.key("retry", "calls")) == [b"1", b"2"]
    assert await deferred(two.campaigns, two.key("retry", "campaigns")) == [b"3"]


async def test_reroute_may_be_for_one_source(two: Two) -> None:
    await leave_behind(two)
    status, said = await two.run("reroute", "crm", "webhook", "--source", "campaigns")
    assert (status, said) == (0, "source campaigns: 1 CDRs and 0 dead letters moved from crm to webhook\n")
    assert await two.calls.llen(f"{two.integrator}:crm:pending:calls") == 2


async def test_a_reroute_is_done_beside_a_broken_source(broken: Two) -> None:
    await leave_behind(broken)
    status, said = await broken.run("reroute", "crm", "webhook")
    assert status == 1
    assert said.startswith("source campaigns: 1 CDRs and 0 dead letters moved from crm to webhook\nsource calls: CDR_R")


# --- status


async def test_status_shows_each_source(two: Two) -> None:
    """Its list, its Redis and its lanes; a table for all, with a column that names it."""
    await two.calls.rpush(two.list_of("calls"), *range(3))
    await two.campaigns.rpush(two.list_of("campaigns"), *range(4))
    await two.campaigns.rpush(two.key("dead", "campaigns"), letter(b"a", "campaigns"))
    status, said = await two.run("status")
    assert status == 0
    assert f"source calls: 3 CDRs in {two.list_of('calls')}, at redis://127.0.0.1:" in said
    assert f"source campaigns: 4 CDRs in {two.list_of('campaigns')}, at redis://127.0.0.1:" in said
    assert "webhook, from calls: no forwarder reports on it, 3 CDRs wait in Redis" in said
    assert re.search(r"webhook +campaigns +4 ", said)
    _, said = await two.run("status", "--json")
    found = json.loads(said)
    assert [one["source"] for one in found["sources"]] == ["calls", "campaigns"]
    assert [one["source_length"] for one in found["sources"]] == [3, 4]
    assert [one["lanes"][0]["dead"] for one in found["sources"]] == [0, 1]
    assert found["sources"][0]["redis_url"] != found["sources"][1]["redis_url"]


async def test_status_shows_a_broken_source_as_such(broken: Two) -> None:
    """The others are shown, and the exit status says that something is missing."""
    await broken.campaigns.rpush(broken.list_of("campaigns"), *range(4))
    status, said = await broken.run("status")
    assert status == 1
    assert "refuses our login" in said.splitlines()[0]
    assert "source campaigns: 4 CDRs in" in said
    assert said.splitlines()[-1] == "not all is known: calls cannot be read"
    status, said = await broken.run("status", "--json", CDR_REDIS_URL=NOWHERE)
    [calls, campaigns] = json.loads(said.splitlines()[0])["sources"]
    assert "redis://127.0.0.1:1/*** does not answer" in calls["error"]
    assert (status, campaigns["error"], campaigns["source_length"]) == (1, None, 4)


async def test_status_goes_on_watching_beside_a_broken_source(broken: Two, start_child: StartChild) -> None:
    child = await start_child(broken.variables, "status", "--watch", "--every", "0.1")
    lines = await eventually(lambda: [line for line in child.log.read_text().splitlines() if line.endswith("}")][1:])
    assert [bool(one["error"]) for one in json.loads(lines[0])["sources"]] == [True, False]


# --- check


async def findings(two: Two, **more: str) -> tuple[int, list[dict[str, str]]]:
    status, said = await two.run("check", "--json", **more)
    return status, shown(said)


def about(found: list[dict[str, Any]], part: str) -> dict[str, str]:
    [one] = [finding for finding in found if part in finding["what"]]
    return one


async def test_check_goes_through_every_source(two: Two) -> None:
    """Each line says which one it is about."""
    await two.campaigns.rpush(two.list_of("campaigns"), *range(4))
    await two.campaigns.rpush(two.key("dead", "campaigns"), letter(b"a", "campaigns"))
    await two.campaigns.rpush(f"{two.integrator}:crm:pending:campaigns", b"1")
    _, found = await findings(two)
    assert len([one for one in found if one["what"].startswith("source calls: Redis: ")]) >= 4
    assert about(found, f"source campaigns: source: 4 CDRs wait in {two.list_of('campaigns')}")["level"] == "ok"
    letters = about(found, "source campaigns: endpoint webhook: 1 dead letters")
    assert letters["advice"] == "see cdr-forwarder dead-letters list --endpoint webhook --source campaigns"
    left = about(found, "source campaigns: endpoint crm: it is not configured for this source")
    assert left["advice"].endswith("cdr-forwarder reroute crm webhook --source campaigns")


async def test_check_looks_at_a_shared_redis_once(two: Two) -> None:
    """What is found there is about all sources that it has."""
    del two.variables["CDR_SOURCES__CAMPAIGNS__REDIS_URL"]
    _, found = await findings(two)
    redis = [one["what"] for one in found if ": Redis: " in one["what"]]
    assert all(what.startswith("sources calls, campaigns: Redis: ") for what in redis)
    assert len(redis) == len(set(redis))


async def test_check_says_that_a_list_was_never_seen(two: Two) -> None:
    """A typo in a key looks like a list that is empty: it is a warning until there is a sign of it."""
    url = two.variables.pop("CDR_WEBHOOK_URL")
    two.variables["CDR_ENDPOINTS__CRM__URL"] = url
    _, found = await findings(two)
    for source in "calls", "campaigns":
        never = about(found, f"source {source}: source: {two.list_of(source)} is not there, and there is no sign")
        assert never["level"] == "warn"
    minute = int(time.time() // 60) - 600
    await two.calls.hset(two.key("minutes", "calls"), str(minute), "0 0 0")
    await two.campaigns.hset(f"{two.integrator}:crm:minutes:campaigns", str(minute), "3 0 0")
    _, found = await findings(two)
    assert about(found, "source calls: source: ")["level"] == "warn"
    assert about(found, "source campaigns: source: 0 CDRs wait")["level"] == "ok"


async def test_what_is_broken_in_one_source_hides_nothing_of_another(broken: Two) -> None:
    """Neither a Redis that is away, nor a key of the wrong type."""
    await broken.campaigns.set(broken.key("dead", "campaigns"), "text")
    inbound = {"CDR_SOURCES__INBOUND__KEY": f"{broken.integrator}-inbound"}
    status, found = await findings(broken, CDR_REDIS_URL=NOWHERE, **inbound)
    assert status == 1
    both = "sources calls, inbound: CDR_REDIS_URL: redis://127.0.0.1:1/*** does not answer"
    assert about(found, both)["level"] == "fail"
    wrong = f"source campaigns: keys: {broken.key('dead', 'campaigns')} is a string, and must be a list"
    assert about(found, wrong)["level"] == "fail"
    assert about(found, "/*** connects")["level"] == "ok"


async def test_keys_of_a_source_that_is_no_longer_configured_are_told(two: Two) -> None:
    """Once for each Redis, with what to do; by `status` too."""
    for client in two.calls, two.campaigns:
        await client.rpush(two.key("dead", "cdr"), "{}")
        await client.zadd(f"{two.integrator}:crm:retry:cdr", {"cdr1 x": 1})
    del two.variables["CDR_SOURCES__CAMPAIGNS__REDIS_URL"]
    _, found = await findings(two)
    left = about(found, "2 CDRs are in those of a source cdr, which is not configured")
    assert (left["level"], left["what"].partition(": ")[0]) == ("warn", "source calls")
    assert left["advice"].endswith("until they are delivered: CDR_SOURCES__CDR__KEY")
    _, said = await two.run("status")
    assert "2 wait in the keys of source cdr, which is not configured: see check" in said


async def test_back_to_one_source_the_others_keys_are_told(
    variables: dict[str, str], client: Redis, integrator: str, start_child: StartChild
) -> None:
    """Whoever takes a source out of the configuration before it is drained learns of it."""
    await client.rpush(f"{integrator}:processing:campaigns", "1")
    child = await start_child(variables, "check", "--json")
    await child.ended()
    left = about(shown(child.log.read_text()), "1 CDRs are in those of a source campaigns")
    assert (left["level"], left["what"].partition(":")[0]) == ("warn", "keys")


async def test_a_process_is_healthy_beside_a_broken_source(broken: Two, start_child: StartChild) -> None:
    """A restart would not help: what it holds of another source counts."""
    forwarder = await start_child(broken.variables, "run")
    await eventually(lambda: forwarder.events("slot.taken"))
    assert (await broken.run("healthcheck"))[0] == 0
