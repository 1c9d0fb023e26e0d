"""The delivery log says whether a call was delivered, when, to whom, and with what answer."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.cdr import webhook_id
from app.config.timings import Timings
from app.service import Service
from app.telemetry import stdout
from tests.support.harness import Child, eventually, gone, measured, running
from tests.support.world import World

ON = {"CDR_DELIVERY_LOG": "true", "CDR_LOG_LEVEL": "warning"}
NUMBER = 300
LONG_LINES = {"CDR_DELIVERY_LOG_FIELDS": ",".join(map(str, range(1, 33)))}
"""With these, and 256 characters in each field, so many lines are more than the queue and the pipe hold."""

CALL = b'{"type": "cdr", "payload": {"call_ref": "c2d-17-4821", "call_time": 187, "legs": [{"id": "A"}]}}'


async def lines(forwarder: Child, number: int) -> list[dict[str, Any]]:
    """Wait for so many lines of the delivery log, and return them."""
    await eventually(lambda: len(forwarder.events("delivery")) >= number)
    return forwarder.events("delivery")


async def test_a_line_tells_of_each_cdr_that_is_delivered(world: World) -> None:
    """When, which, from where, to whom, with what answer and after how many attempts; nothing of its content."""
    days = iter([503])
    world.receiver.judge = lambda _: next(days, 204)
    forwarder = await world.start(ON, slot=1)
    await world.redis.rpush(world.source, CALL)

    [line] = await lines(forwarder, 1)
    assert datetime.now(UTC) - datetime.fromisoformat(line.pop("timestamp")) < timedelta(seconds=20)
    assert 0 <= line.pop("milliseconds") < 20_000
    assert line == {
        "event": "delivery",
        "outcome": "delivered",
        "webhook_id": webhook_id(CALL),
        "source": "cdr",
        "endpoint": "webhook",
        "status": 204,
        "result": "success",
        "attempts": 2,
    }
    assert await gone(world.redis, *world.waiting)


async def test_it_is_off_unless_it_is_asked_for(world: World) -> None:
    """Standard output stays empty."""
    forwarder = await world.start(slot=1)
    await world.redis.rpush(world.source, CALL)
    await eventually(lambda: forwarder.events("cdr.delivered"))
    assert not forwarder.events("delivery")


async def test_a_line_tells_of_each_dead_letter(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """With the reason, and the status of the last answer."""
    world.receiver.judge = lambda body: 422 if body == CALL else 204
    settings = world.with_variables(delivery_log="true", delivery_log_fields="payload.call_ref").settings

    async def is_dead() -> int:
        await world.redis.rpush(world.source, b"good")  # a rejection is final only if others are accepted meanwhile
        return await world.redis.llen(world.dead)

    async with running(settings, Timings(between_rejections=0.2)):
        await world.redis.rpush(world.source, CALL)
        await eventually(is_dead)
    stdout.flush(5)

    written = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    [line] = [one for one in written if one["event"] == "delivery" and one["outcome"] != "delivered"]
    assert (line["status"], line["result"], line["attempts"]) == (422, "http_4xx", 2)
    assert line["fields"] == {"payload.call_ref": "c2d-17-4821"}


async def test_named_fields_are_in_the_line(world: World) -> None:
    """By path; a CDR that lacks them, or is no JSON, has none. What steers a terminal is escaped."""
    hostile = b'{"payload": {"call_ref": "a\\u001b[2J\\nb' + b"x" * 5000 + b'"}}'
    paths = "payload.call_ref, payload.call_time,payload.legs.0.id"
    forwarder = await world.start(ON | {"CDR_DELIVERY_LOG_FIELDS": paths}, slot=1)
    for body in CALL, b"not JSON", hostile:
        await world.redis.rpush(world.source, body)

    found = {line["webhook_id"]: line["fields"] for line in await lines(forwarder, 3)}
    assert found[webhook_id(CALL)] == {
        "payload.call_ref": "c2d-17-4821",
        "payload.call_time": 187,
        "payload.legs.0.id": "A",
    }
    assert found[webhook_id(b"not JSON")] == dict.fromkeys(found[webhook_id(CALL)])
    assert found[webhook_id(hostile)]["payload.call_ref"] == "a\x1b[2J\nb" + "x" * 248 + "…"
    assert "\x1b" not in forwarder.log.read_text()


@pytest.mark.parametrize("how", ["closed", "nobody reads it", "its reader dies"])
async def test_a_standard_output_that_takes_nothing_stops_no_delivery(world: World, how: str) -> None:
    """All are delivered, the lines that are lost are counted and told once, and SIGTERM is obeyed."""
    shell = 'exec "$0" -m app run' + (" >&-" if how == "closed" else "")
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", shell, sys.executable),
        env={
            "PATH": os.environ["PATH"],
            **measured(),
            **world.variables,
            **ON,
            **LONG_LINES,
            "CDR_LOG_LEVEL": "warning",
        },
        stdin=DEVNULL,
        stdout=DEVNULL if how == "closed" else (ends := os.pipe())[1],
        stderr=PIPE,
    )
    if how != "closed":
        os.close(ends[1])
    if how == "its reader dies":
        os.close(ends[0])
    bodies = [json.dumps([one, *["x" * 256] * 32]) for one in range(NUMBER)]
    await world.redis.rpush(world.source, *bodies)
    await eventually(lambda: world.receiver.bodies.total() >= NUMBER)
    await eventually(lambda: gone(world.redis, *world.waiting))

    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        _, said = await process.communicate()
    assert process.returncode == 0
    told = [json.loads(line) for line in said.splitlines()]
    dropped = [one["number"] for one in told if one["event"] == "delivery_log.dropped"]
    assert 1 <= len(dropped) <= 2, told  # the first at once, and the rest at the end
    assert sum(dropped) == NUMBER or (how == "nobody reads it" and 0 < sum(dropped) < NUMBER)
    if how == "nobody reads it":
        os.close(ends[0])


async def test_the_log_costs_nothing_while_it_is_off(world: World) -> None:
    """No queue and no thread are made for it."""
    assert Service(world.settings).parts.delivery_log is None
