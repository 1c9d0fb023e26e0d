"""`cdr-forwarder inject`: CDRs that were pulled by hand come in whole, or it is said exactly how far."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.cli.inject import LONGEST_LINE, problem
from app.demo.embedded import EmbeddedRedis
from tests.conftest import StartChild
from tests.support.proxy import RedisProxy, nth

SECRET_NUMBER = "0825550142"


def calls(number: int) -> list[bytes]:
    return [b'{"number":  "%b", "call": %d}' % (SECRET_NUMBER.encode(), call) for call in range(number)]


Inject = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
async def inject(start_child: StartChild, variables: dict[str, str], tmp_path: Path) -> Inject:
    """Type `inject FILE …` with these bytes in the file, and return its exit status and what it says."""

    async def inject(content: bytes, *options: str, **more: str) -> tuple[int, str]:
        file = tmp_path / "calls.jsonl"
        file.write_bytes(content)
        child = await start_child(variables | more, "inject", str(file), *options)
        status = await child.ended(60)
        said = child.log.read_text()
        assert "Traceback" not in said
        assert SECRET_NUMBER not in said
        return status, said

    return inject


@pytest.mark.parametrize("oldest", ["head", "tail"])
async def test_the_last_line_is_the_newest(oldest: str, inject: Inject, client: Redis, source: str) -> None:
    """As if Enigma had pushed them now, byte for byte; several pages."""
    await client.rpush(source, b"waits already")
    status, said = await inject(b"\n".join(calls(1200)), CDR_SOURCE_OLDEST=oldest)
    assert (status, said) == (0, f"1200 CDRs pushed to {source}\n")
    expected = [b"waits already", *calls(1200)]
    assert await client.lrange(source, 0, -1) == (expected if oldest == "head" else expected[::-1])


async def test_each_line_is_a_cdr_without_its_newline(inject: Inject, client: Redis, source: str) -> None:
    """Whatever the newline; empty lines are none; spaces and escapes stay as they are."""
    lines = [b'{"a": "Zo\xc3\xab \\u00eb"} ', b'\t{"b":1}', b"{}"]
    await inject(b"\r\n".join(lines[:2]) + b"\n\n\r\n" + lines[2] + b"\n")
    assert await client.lrange(source, 0, -1) == lines


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (b"{", "is not JSON"),
        (f'"{SECRET_NUMBER}"'.encode(), "is JSON, but not an object"),
        (b'{"caf\xe9": 1}', "is not UTF-8"),
        (b"[" * 100_000, "is not JSON"),
        (b"   ", "is not JSON"),
    ],
    ids=["half", "text", "latin-1", "deep", "blank"],
)
async def test_a_bad_line_is_named_and_nothing_is_pushed(
    line: bytes, wrong: str, inject: Inject, client: Redis, source: str
) -> None:
    """Before the first page: somebody corrects the file and does it again."""
    status, said = await inject(b"\n".join([*calls(700), line, *calls(1), line]))
    assert status == 1
    assert said.splitlines()[:2] == [f"line 701: {wrong}", f"line 703: {wrong}"]
    assert "nothing was pushed" in said
    assert not await client.exists(source)


def test_a_line_that_is_too_long_is_no_cdr() -> None:
    """Not even read whole: it may be as long as the file."""
    assert problem(b"x" * LONGEST_LINE) == "is too long for a CDR"


async def test_it_begins_where_it_is_told(inject: Inject, client: Redis, source: str) -> None:
    """Lines are counted as an editor counts them: empty ones too."""
    await inject(b"\n\n" + b"\n".join(calls(5)), "--from-line", "6")
    assert await client.lrange(source, 0, -1) == calls(5)[3:]


async def test_standard_input_is_checked_before_anything_is_pushed(
    variables: dict[str, str], tmp_path: Path, client: Redis, source: str
) -> None:
    """Though it can be read only once."""
    good, bad = b"\n".join(calls(600)), b"\n".join([*calls(600), b"half a li"])
    assert await piped(bad, variables) == (1, "line 601: is not JSON")
    assert not await client.exists(source)
    assert (await piped(good, variables))[0] == 0
    assert await client.lrange(source, 0, -1) == calls(600)


async def piped(content: bytes, variables: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "inject", "-"),
        env={"PATH": os.environ["PATH"], **variables},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(content)
    return process.returncode or 0, said.decode().splitlines()[0]


async def test_a_file_that_is_not_there_is_a_sentence(start_child: StartChild, variables: dict[str, str]) -> None:
    child = await start_child(variables, "inject", "nowhere.jsonl")
    assert await child.ended() == 1
    assert child.log.read_text() == "nowhere.jsonl: cannot be read: No such file or directory\n"


# --- when Redis fails half-way


async def test_a_lost_reply_pushes_no_page_twice(
    inject: Inject, redis_server: EmbeddedRedis, client: Redis, source: str
) -> None:
    """The page is sent again under its number, and Redis knows that it has it."""
    async with RedisProxy(redis_server) as proxy:
        proxy.loses = nth("reply", "inject", first=2, times=2)
        status, _ = await inject(b"\n".join(calls(1200)), CDR_REDIS_URL=proxy.url)
        assert proxy.lost["reply", "inject"] == 2
    assert status == 0
    assert await client.lrange(source, 0, -1) == calls(1200)


async def test_where_redis_goes_for_good_the_uncertain_page_is_named(
    inject: Inject, redis_server: EmbeddedRedis, client: Redis, source: str
) -> None:
    """Going on where it says loses none; what may arrive twice is that page, and no other."""
    async with RedisProxy(redis_server) as proxy:
        proxy.loses = nth("reply", "inject", first=2, times=10_000)
        status, said = await inject(b"\n".join(calls(1200)), CDR_REDIS_URL=proxy.url)
    assert status == 1
    assert "does not answer" in said
    assert "500 CDRs were pushed, all before line 501; lines 501 to 1000 may have been" in said
    found = re.search(r"--from-line (\d+)", said)
    assert found
    assert (await inject(b"\n".join(calls(1200)), "--from-line", found[1]))[0] == 0
    assert await client.lrange(source, 0, -1) == [*calls(1000), *calls(1200)[500:]]


async def test_a_full_redis_is_left_as_it_is(
    inject: Inject, own_redis: EmbeddedRedis, own_client: Redis, source: str
) -> None:
    """What drains it must not wait behind what is added; nothing of the refused page is there."""
    filler = json.dumps({"x": "y" * 2000}).encode()
    await own_client.config_set("maxmemory", (await own_client.info("memory"))["used_memory"] + 8 * 2**20)
    status, said = await inject(b"\n".join([filler] * 20_000), CDR_REDIS_URL=own_redis.url)
    assert status == 1
    assert "is full (maxmemory)" in said
    pushed = await own_client.llen(source)
    assert 0 < pushed < 20_000
    assert f"{pushed} CDRs were pushed, all before line {pushed + 1}; go on with --from-line {pushed + 1}" in said


async def test_a_source_of_another_type_is_a_sentence(inject: Inject, client: Redis, source: str) -> None:
    await client.set(source, "a string")
    status, said = await inject(b"{}")
    assert status == 1
    assert "WRONGTYPE" in said
    assert "0 CDRs were pushed, all before line 1; go on with --from-line 1" in said


async def test_with_several_endpoints_it_is_for_all_of_them(
    inject: Inject, variables: dict[str, str], client: Redis, source: str
) -> None:
    """Into the source, from where they are distributed."""
    more: dict[str, Any] = {"CDR_ENDPOINTS__CRM__URL": variables.pop("CDR_WEBHOOK_URL")}
    assert (await inject(b"{}", **more))[0] == 0
    assert await client.lrange(source, 0, -1) == [b"{}"]
