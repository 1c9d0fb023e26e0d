"""What a person sees on a terminal of usual size: whole ids, whole sentences, and nothing that steers it."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from app.cdr import webhook_id
from tests.conftest import StartChild
from tests.support.harness import eventually
from tests.support.letters import raw_letter
from tests.support.terminal import on_terminal

Seen = Callable[..., Awaitable[tuple[int, str]]]

HOSTILE = "\x1b]0;owned\x07\x1b[31m\x9b2J\r\u202e"


@pytest.fixture
def seen(variables: dict[str, str]) -> Seen:
    """Type a command on a terminal of 80 columns."""

    async def seen(*arguments: str, columns: int = 80, typed: bytes = b"", **more: str) -> tuple[int, str]:
        given = variables | more
        return await asyncio.to_thread(on_terminal, given, *arguments, columns=columns, typed=typed)

    return seen


@pytest.mark.parametrize("columns", [40, 80, 200])
async def test_an_id_can_be_copied(columns: int, seen: Seen, client: Redis, dead: str) -> None:
    """It stands on one line, also where a table of all columns has no room; with all that is known of it."""
    await client.rpush(dead, raw_letter(b"a"), raw_letter(b"b"), "a note")
    status, said = await seen("dead-letters", "list", columns=columns)
    assert status == 0
    lines = said.splitlines()
    assert all(sum(webhook_id(body) in line for line in lines) == 1 for body in (b"a", b"b"))
    assert sum("damaged_" in line for line in lines) == 1
    assert all(word in said for word in ("webhook", "rejected", "400", "UTC", "3 dead letters"))
    assert columns == 40 or max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns", [80, 200])
async def test_a_status_is_readable(
    columns: int, seen: Seen, start_child: StartChild, variables: dict[str, str], client: Redis, dead: str
) -> None:
    """Each number beside its name, and the id of a process on one line."""
    await client.rpush(dead, raw_letter(b"a"))
    forwarder = await start_child(variables, "run")
    await eventually(lambda: forwarder.events("slot.taken"))
    status, said = await seen("status", columns=columns)
    assert status == 0
    [owner] = json.loads((await seen("status", "--json"))[1])["owners"]
    assert sum(owner["process"] in line for line in said.splitlines()) == 1
    words = " ".join(said.split())
    assert "webhook: idle: all is delivered, waiting for CDRs; 1 dead letter wants a decision." in words
    if columns == 80:
        assert all(number in words for number in ("pending 0", "processing 0", "dead 1", "last hour 0", "slot 1"))
    assert max(map(len, said.splitlines())) <= columns


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 1), (b"y\n", 0)])
async def test_a_drop_asks_and_does_as_it_is_told(
    answer: bytes, left: int, seen: Seen, client: Redis, dead: str
) -> None:
    """With how many; a no changes nothing."""
    await client.rpush(dead, raw_letter(b"a"))
    status, said = await seen("dead-letters", "drop", "--all", typed=answer)
    assert "Remove 1 dead letters for good? [y/N]:" in said
    assert (status, await client.llen(dead)) == (left, left)


async def test_what_others_wrote_steers_no_terminal(
    seen: Seen, client: Redis, integrator: str, dead: str, source: str
) -> None:
    """Whatever comes from Redis, in every command that shows any of it, also in what it refuses."""
    # given
    owner = {"id": "x", "host": HOSTILE, "source": HOSTILE, "fans_out": True, "endpoints": {"crm": "f", HOSTILE: "f"}}
    letter = json.loads(raw_letter(b"a"))
    await client.rpush(dead, json.dumps(letter | dict.fromkeys(("id", "letter", "endpoint", "reason"), HOSTILE)))
    await client.rpush(f"{integrator}:crm:pending:cdr", "x")
    # when
    commands = [
        ["status"],
        ["status", "--json"],
        ["dead-letters", "list"],
        ["dead-letters", "list", "--json"],
        ["dead-letters", "show", HOSTILE],
        ["dead-letters", "show", HOSTILE + "none"],
        ["dead-letters", "list", "--endpoint", HOSTILE],
        ["reroute", "crm", "webhook"],
        ["reroute", "crm", HOSTILE],
        ["check"],
        ["check", "--json"],
        ["run"],
    ]
    said = {}
    for command in commands:
        await client.set(f"{integrator}:processing:cdr:owner", json.dumps(owner), px=60_000)
        said[" ".join(command)] = (await seen(*command, CDR_LOG_FORMAT="console"))[1]
    # then
    steered = {command for command, text in said.items() if not text.replace("\n", "").isprintable()}
    assert not steered
    assert "still an endpoint of a live process" in said["reroute crm webhook"]
    assert "give each installation a name of its own" in said["run"]
