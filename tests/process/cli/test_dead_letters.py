"""`cdr-forwarder dead-letters`: which letters it is about, what it shows of them, and what becomes of them."""

import asyncio
import json
import re
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from redis.asyncio import Redis

from app.cdr import Cdr, History, webhook_id
from app.dead_letters.letter import Reason, dead_letter
from app.dead_letters.selection import age_of
from app.dead_letters.store import DAMAGED
from app.store.retry_set import read_member
from tests.conftest import StartChild
from tests.support.harness import eventually
from tests.support.letters import cdr_in

SECRET_NUMBER = "0825550142"


def letter(body: bytes, reason: Reason = "rejected", status: int = 400, days: float = 0) -> bytes:
    answer = f"no account of {SECRET_NUMBER}".encode()
    made = dead_letter(
        cdr=Cdr(body),
        endpoint="webhook",
        source="cdr",
        reason=reason,
        status=status,
        answer=answer,
        history=History(attempts=1),
    )
    fields = json.loads(made)
    fields["dead_at"] = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    return json.dumps(fields).encode()


def cdrs(number: int) -> list[bytes]:
    return [b'{"number": "%b", "call": %d}' % (SECRET_NUMBER.encode(), call) for call in range(number)]


@pytest.fixture
def retry(integrator: str) -> str:
    return f"{integrator}:retry:cdr"


async def waiting(client: Redis, retry: str) -> list[bytes]:
    """Return the CDRs in a retry set."""
    members: list[Any] = await client.zrange(retry, 0, -1)
    return [read_member(member)[1] for member in members]


@pytest.fixture
async def run(start_child: StartChild, variables: dict[str, str]) -> Any:
    """Type `dead-letters …` and return its exit status and what it says."""

    async def run(*words: str, **more: str) -> tuple[int, str]:
        child = await start_child(variables | more, "dead-letters", *words)
        status = await child.ended()
        said = child.log.read_text()
        assert "Traceback" not in said
        return status, said

    return run


def shown(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


# --- list and show


async def test_a_list_never_shows_a_cdr(run: Any, client: Redis, dead: str) -> None:
    """Its content goes where it is asked for by id, and nowhere else; nor the answer, which may quote it."""
    await client.rpush(dead, *map(letter, cdrs(3)), f"a note about {SECRET_NUMBER}")
    for arguments in [], ["--json"]:
        status, said = await run("list", *arguments)
        assert status == 0
        assert SECRET_NUMBER not in said
        assert all(webhook_id(cdr) in said for cdr in cdrs(3))


async def test_a_list_as_json_is_one_object_a_line(run: Any, client: Redis, dead: str) -> None:
    await client.rpush(dead, letter(b"a"), letter(b"\xff", "gave_up", 503), "a note")
    _, said = await run("list", "--json")
    first, second, third = shown(said)
    assert (first["id"], first["endpoint"], first["reason"], first["bytes"]) == (
        webhook_id(b"a"),
        "webhook",
        "rejected",
        1,
    )
    assert (second["reason"], second["status"], second["attempts"]) == ("gave_up", 503, 1)
    assert (third["reason"], third["dead_at"], third["bytes"]) == ("damaged", None, 6)


async def test_show_prints_the_cdr(run: Any, client: Redis, dead: str) -> None:
    """Every letter of that id: twins share one."""
    [cdr] = cdrs(1)
    await client.rpush(dead, letter(b"other"), letter(cdr), letter(cdr))
    status, said = await run("show", webhook_id(cdr))
    assert status == 0
    assert said.count(json.dumps(cdr.decode())) == 2
    assert said.count(f'"answer": "no account of {SECRET_NUMBER}"') == 2
    assert len(set(re.findall(r'"letter": "([0-9a-f]{32})"', said))) == 2


async def test_show_steers_no_terminal(run: Any, client: Redis, dead: str) -> None:
    """A CDR may hold escape sequences; they are printed as JSON writes them."""
    await client.rpush(dead, letter("\x1b]0;owned\x07 \x9b31m".encode()))
    status, said = await run("show", webhook_id("\x1b]0;owned\x07 \x9b31m".encode()))
    assert status == 0
    assert not {"\x1b", "\x07", "\x9b"} & set(said)
    assert json.loads(said)["cdr"] == "\x1b]0;owned\x07 \x9b31m"


async def test_what_is_damaged_can_be_shown_and_dropped(run: Any, client: Redis, dead: str) -> None:
    """By the id that the list gives it."""
    await client.rpush(dead, b"\xff\xfe", letter(b"sound"))
    [damaged, _] = shown((await run("list", "--json"))[1])
    status, said = await run("show", damaged["id"])
    assert json.loads(said)["element_base64"] == "//4="
    status, said = await run("replay", "--id", damaged["id"])
    assert (status, said) == (0, "0 replayed; 1 damaged, which can only be dropped\n")
    status, said = await run("drop", "--id", damaged["id"], "--yes")
    assert (status, said) == (0, "1 dropped\n")
    assert await client.llen(dead) == 1


async def test_an_unknown_id_is_exit_status_1(run: Any) -> None:
    status, said = await run("show", "cdr_none")
    assert status == 1
    assert said.startswith("no dead letter has the id cdr_none;")


# --- selecting


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "abcd"),
        (["--id", webhook_id(b"a"), "--id", webhook_id(b"d")], "ad"),
        (["--reason", "gave_up"], "bd"),
        (["--older-than", "3d"], "ab"),
        (["--older-than", "36h", "--reason", "gave_up"], "b"),
        (["--limit", "2"], "ab"),
        (["--endpoint", "webhook", "--limit", "1"], "a"),
        (["--source", "cdr", "--limit", "3"], "abc"),
    ],
)
async def test_letters_are_selected(
    arguments: list[str], expected: str, run: Any, client: Redis, dead: str, retry: str
) -> None:
    """The same for list, replay and drop: what was listed is what goes."""
    raws = [
        *(letter(b"a", days=9), letter(b"b", "gave_up", 503, days=5)),
        *(letter(b"c", days=1), letter(b"d", "gave_up", 503)),
    ]
    await client.rpush(dead, *raws)
    _, said = await run("list", "--json", *arguments)
    assert [line["id"] for line in shown(said)] == [webhook_id(name.encode()) for name in expected]
    for command in "replay", "drop":
        status, _ = await run(command, "--dry-run", *(arguments or ["--endpoint", "webhook"]))
        assert status == 0
    assert await client.lrange(dead, 0, -1) == raws
    status, said = await run("replay", *arguments)
    assert (status, said) == (0, f"{len(expected)} replayed\n")
    assert sorted(await waiting(client, retry)) == [name.encode() for name in expected]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43200), ("3d", 259200), ("1.5 w", 907200)]
)
def test_ages_are_as_people_write_them(text: str, seconds: float) -> None:
    assert age_of(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "soon", "3 days", "-1d", "1e9", "d"])
async def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        age_of(text)


@pytest.mark.parametrize("arguments", [["--older-than", "soon"], [], ["--limit", "0"], ["--reason", "reject"]])
async def test_a_drop_that_is_not_clear_removes_nothing(
    arguments: list[str], run: Any, client: Redis, dead: str
) -> None:
    """Also without any option: --all has to be said."""
    await client.rpush(dead, letter(b"a", days=9))
    status, _ = await run("drop", "--yes", *arguments)
    assert status == 2
    assert await client.llen(dead) == 1


async def test_an_endpoint_that_there_is_not_is_named(run: Any) -> None:
    status, said = await run("list", "--endpoint", "crm")
    assert (status, said) == (1, "--endpoint: there is no crm; there are webhook\n")


async def test_a_source_that_there_is_not_is_named(run: Any, client: Redis, dead: str) -> None:
    """A typo selects nothing, and says so."""
    await client.rpush(dead, letter(b"a"))
    for words in ["list"], ["replay"], ["drop", "--yes"]:
        status, said = await run(*words, "--source", "cdrs")
        assert (status, said) == (2, "--source: there is no cdrs; there are cdr\n")
    assert await client.llen(dead) == 1


@pytest.mark.parametrize("command", ["list", "replay", "drop"])
async def test_a_reason_that_there_is_not_is_refused(command: str, run: Any) -> None:
    """With those that there are: it is no empty list."""
    status, said = await run(command, "--reason", "reject")
    assert status == 2
    assert all(reason in said for reason in ("reject", *get_args(Reason), DAMAGED))


# --- replay and drop


async def test_without_a_yes_nothing_is_dropped(run: Any, client: Redis, dead: str) -> None:
    """There is nobody to ask here."""
    await client.rpush(dead, letter(b"a"))
    status, said = await run("drop", "--all")
    assert status == 1
    assert "Remove 1 dead letters for good?" in said
    assert await client.llen(dead) == 1
    assert (await run("drop", "--all", "--yes"))[1] == "1 dropped\n"
    assert not await client.exists(dead)


async def test_replay_keeps_to_its_rate(run: Any, client: Redis, dead: str) -> None:
    """What is new must not wait behind it."""
    await client.rpush(dead, *map(letter, cdrs(20)))
    beginning = datetime.now(UTC)
    await run("replay", "--rate", "10")
    assert datetime.now(UTC) - beginning > timedelta(seconds=1.9)


async def test_what_dies_again_meanwhile_is_not_replayed_again(run: Any, client: Redis, dead: str, retry: str) -> None:
    """An endpoint that still rejects them would otherwise keep the command busy for ever."""
    # given: whatever is replayed becomes a dead letter again at once
    await client.rpush(dead, *map(letter, cdrs(100)))
    rejecting = asyncio.ensure_future(reject(client, retry, dead))
    # when
    said = (await run("replay", "--rate", "1000"))[1]
    # then
    assert said == "100 replayed\n"
    await eventually(lambda: number_of(client, dead, 100))
    rejecting.cancel()
    assert Counter(map(cdr_in, await client.lrange(dead, 0, -1))) == Counter(cdrs(100))


async def reject(client: Redis, retry: str, dead: str) -> None:
    while True:
        popped: Any = await client.bzpopmin(retry, 0)
        await client.rpush(dead, letter(read_member(popped[1])[1]))


async def number_of(client: Redis, key: str, number: int) -> bool:
    return int(await client.llen(key)) == number


async def test_a_replay_that_is_killed_loses_nothing(
    start_child: StartChild, variables: dict[str, str], client: Redis, dead: str, retry: str
) -> None:
    """At any moment each CDR is a dead letter or in the retry set; and the next replay does the rest."""
    bodies = [*cdrs(3000), *[b"twin"] * 200]
    await client.rpush(dead, *map(letter, bodies))
    for kills in range(1, 4):
        child = await start_child(variables, "dead-letters", "replay", "--rate", "100000")

        async def some_are_moved(more: int = kills * 400) -> bool:
            return await client.zcard(retry) >= more

        await eventually(some_are_moved)
        child.signal(signal.SIGKILL)
        await child.ended()
        left = Counter(map(cdr_in, await client.lrange(dead, 0, -1)))
        assert left + Counter(await waiting(client, retry)) == Counter(bodies)
    last = await start_child(variables, "dead-letters", "replay", "--rate", "100000")
    assert await last.ended() == 0
    assert Counter(await waiting(client, retry)) == Counter(bodies)


async def test_the_dead_letters_of_an_endpoint_that_is_gone_can_be_had(
    run: Any, client: Redis, integrator: str
) -> None:
    """Listed and dropped as others; replayed where another endpoint is to have them."""
    dead = f"{integrator}:crm:dead:cdr"
    await client.rpush(dead, letter(b"a"), letter(b"b", days=40))
    assert [line["endpoint"] for line in shown((await run("list", "--json"))[1])] == ["crm", "crm"]
    status, said = await run("replay", "--endpoint", "crm")
    assert (status, said) == (1, "--endpoint: crm is not configured; with --to, another one takes its CDRs\n")
    assert (await run("drop", "--older-than", "30d", "--yes"))[1] == "1 dropped\n"
    assert (await run("replay", "--endpoint", "crm", "--to", "webhook"))[1] == "1 replayed\n"
    assert await waiting(client, f"{integrator}:retry:cdr") == [b"a"]


async def test_of_several_endpoints_each_gets_its_own_back(
    run: Any, client: Redis, integrator: str, variables: dict[str, str]
) -> None:
    """A replay never delivers to an endpoint that has the CDR already."""
    url = variables.pop("CDR_WEBHOOK_URL")
    variables |= {"CDR_ENDPOINTS__CRM__URL": url, "CDR_ENDPOINTS__BI__URL": url}
    await client.rpush(f"{integrator}:crm:dead:cdr", letter(b"c"))
    await client.rpush(f"{integrator}:bi:dead:cdr", letter(b"b"))
    assert (await run("replay", "--endpoint", "crm"))[1] == "1 replayed\n"
    assert await waiting(client, f"{integrator}:crm:retry:cdr") == [b"c"]
    assert (await run("replay"))[1] == "1 replayed\n"
    assert await waiting(client, f"{integrator}:bi:retry:cdr") == [b"b"]


@pytest.mark.parametrize("words", [["list"], ["replay"], ["drop", "--all", "--yes"]])
async def test_a_redis_that_is_away_is_one_sentence(words: list[str], run: Any) -> None:
    """Which, and what to look at; no traceback, no password."""
    status, said = await run(*words, CDR_REDIS_URL="redis://:hunter2@127.0.0.1:1/0")
    assert status == 1
    assert "CDR_REDIS_URL: redis://127.0.0.1:1/*** does not answer" in said.splitlines()[-1]
    assert "hunter2" not in said
