"""What README.md says is what there is."""

import ast
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from app.cli.command import BAD_CONFIGURATION
from app.cli.run import CRASHED
from app.config.environment import variable_names
from app.demo.calls import invent
from app.demo.embedded import EmbeddedRedis
from app.service import CUT_OFF, STOPPED_AS_ASKED
from app.store.retry_set import read_member
from tests.conftest import StartChild
from tests.support.harness import environment, eventually, gone
from tests.support.letters import raw_letter
from tests.support.receiver import Receiver
from tests.support.repository import README, ROOT, acl_line, documented
from tests.support.servers import KINDS, sent, server_of

SECRET_MARK = " †"
FIELD = "Field of `payload`"
CODE = re.compile(r"`([^`]*)`")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of the tables in it, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return [row for row in cells if row[0] not in {"", "Variable", "Header", FIELD}]


PROMISES = [row for row in rows(section("What happens when…")) if row]
VARIABLES = [row for row in rows(section("Configuration")) if "CDR_" in row[0]]


@pytest.mark.parametrize("row", PROMISES, ids=[row[0] for row in PROMISES])
def test_each_promise_names_a_test_that_there_is(row: list[str]) -> None:
    """A promise is worth what shows it; its tests are moved or renamed together with its row."""
    named = [code.partition("::") for code in CODE.findall(row[-1])]
    assert row[-1] == ", ".join(f"`{file}::{name}`" for file, _, name in named) != ""
    for file, _, name in named:
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert name in [
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]


def test_the_table_of_variables_is_complete() -> None:
    """Every variable stands there once, those that are secret with their mark, and nothing else does."""
    named = [name for row in VARIABLES for name in re.findall(rf"`(CDR_[A-Z0-9_]+)`({SECRET_MARK})?", row[0])]
    assert sorted((name, bool(mark)) for name, mark in named) == sorted(variable_names().items())


@pytest.mark.parametrize("row", VARIABLES, ids=[row[0] for row in VARIABLES])
def test_the_table_of_variables_tells_the_defaults(row: list[str]) -> None:
    """The same as .env.example, which is held against the code."""
    shown, names = [value.strip() for value in CODE.findall(row[1])], CODE.findall(row[0])
    defaults = ["" if name == "CDR_WEBHOOK_URL" else documented()[name] for name in names]
    assert (shown or [""] * len(names)) == defaults


def test_the_cdr_is_what_enigma_writes() -> None:
    """It has the fields of the demo's CDRs, and the table tells each of them, in their order."""
    example, *_ = re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    cdr, like = json.loads(example), json.loads(invent(0))
    table = section("What arrives, and how to receive it").split(FIELD)[1].split("\n\n")[0]
    told = [name for row in rows(table) for name in CODE.findall(row[0])]
    assert cdr.keys() == like.keys()
    assert [(name, type(value)) for name, value in cdr["payload"].items()] == [
        (name, type(value)) for name, value in like["payload"].items()
    ]
    assert told == [*cdr["payload"]]


def test_every_exit_status_is_told() -> None:
    """Those that the code has, and no others."""
    told = [row[0] for row in rows(section("Configuration")) if row[0].isdigit()]
    assert sorted(map(int, told)) == sorted({STOPPED_AS_ASKED, CRASHED, BAD_CONFIGURATION, CUT_OFF})


def test_the_commands_need_nothing_but_python() -> None:
    """Each is one line that begins with a fresh environment and installs from this directory."""
    installing = [line for line in README.splitlines() if "pip install" in line]
    assert len(installing) == 2
    assert all(line.startswith("python3 -m venv .venv && .venv/bin/pip install -q ") for line in installing)


@pytest.fixture(params=KINDS)
def strict_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """Each server that is here in turn: what an ACL line may name differs from version to version."""
    with EmbeddedRedis(tmp_path, server=server_of(request.param), appendonly=False) as server:
        yield server


async def test_the_acl_user_has_every_right_that_is_needed(
    strict_redis: EmbeddedRedis, receiver: Receiver, start_child: StartChild
) -> None:
    """With the line of README.md and the default names: claim, deliver, reject, defer, adopt, and stop at once."""
    source, processing, dead = "enigma:notifications:cdr", "cdr-forwarder:processing:cdr", "cdr-forwarder:dead:cdr"
    bad_days = iter([503])
    receiver.judge = lambda body: {b"bad": 422, b"later": next(bad_days, 204)}.get(body, 204)
    variables = environment(
        *(strict_redis.url, receiver.url, "cdr-forwarder"),
        source_key=source,
        redis_username="cdr-forwarder",
        redis_password="password",
    )
    async with Redis.from_url(strict_redis.url, protocol=2) as admin:
        await sent(admin, acl_line())
        await admin.rpush(f"{processing}:5", b"orphan")
        await admin.rpush(source, b"good", b"bad", b"later")
        forwarder = await start_child(variables, fresh=True)
        await eventually(lambda: receiver.bodies.keys() == {b"good", b"later", b"orphan"})
        await eventually(lambda: gone(admin, source, processing, f"{processing}:5"))
        assert await (await start_child(variables, "healthcheck")).ended() == 0
        forwarder.signal(signal.SIGTERM)
        assert await forwarder.ended() == 0
        # what was rejected once waits for its second rejection, which is a minute away
        members: list[Any] = await admin.zrange("cdr-forwarder:retry:cdr", 0, -1)
        assert [read_member(member)[1] for member in members] == [b"bad"]
        assert not await admin.exists(dead, f"{processing}:owner")
    assert not forwarder.events("rights.missing")
    assert not forwarder.events("redis.refused")


async def test_the_acl_user_has_every_right_that_a_command_needs(
    strict_redis: EmbeddedRedis, receiver: Receiver, start_child: StartChild, tmp_path: Path
) -> None:
    """Whichever end of the source is the oldest: what an operator types is refused nothing."""
    receiver.status = 422
    file = tmp_path / "cdrs.jsonl"
    file.write_text('{"type": "cdr"}\n')
    variables = environment(
        *(strict_redis.url, receiver.url, "cdr-forwarder"),
        source_key="enigma:notifications:cdr",
        source_oldest="tail",
        redis_username="cdr-forwarder",
        redis_password="password",
    )
    async with Redis.from_url(strict_redis.url, protocol=2) as admin:
        await sent(admin, acl_line())
        await admin.rpush("cdr-forwarder:gone:pending:cdr", b"left over")
        await admin.rpush("cdr-forwarder:gone:dead:cdr", raw_letter(b"dead"), raw_letter(b"dead too"))
        forwarder = await start_child(variables, fresh=True)
        for command in "inject " + str(file), "reroute gone webhook":
            assert await (await start_child(variables, *command.split())).ended() == 0
        await eventually(lambda: receiver.refusals.total() >= 2)
        await eventually(lambda: gone(admin, "cdr-forwarder:processing:cdr", "enigma:notifications:cdr"))
        for command in "status", "dead-letters list", "dead-letters replay --limit 1", "dead-letters drop --all --yes":
            child = await start_child(variables, *command.split())
            assert await child.ended() == 0, child.log.read_text()
    assert not forwarder.events("redis.refused")


@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG GET *", "KEYS *", "EVAL 1 0", "SHUTDOWN", "RPUSH elsewhere x"])
async def test_the_acl_user_has_no_right_that_is_not_needed(strict_redis: EmbeddedRedis, command: str) -> None:
    """Whoever has its password can neither empty Redis nor touch what is not ours."""
    async with Redis.from_url(strict_redis.url, protocol=2) as admin:
        await sent(admin, acl_line())
    async with Redis.from_url(strict_redis.url, protocol=2, username="cdr-forwarder", password="password") as user:
        with pytest.raises(NoPermissionError):
            await sent(user, command)
