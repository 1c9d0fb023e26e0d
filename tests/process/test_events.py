"""What the service says, and what it must never say."""

import base64
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from app.cdr import History
from app.store.retry_set import member_of
from tests.support.harness import Child, eventually, gone
from tests.support.repository import ROOT
from tests.support.world import World

NOUN_VERB: Final = re.compile(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*")
LEVELS: Final = {"debug", "info", "warning", "error"}

MARK: Final = b"0825550142"
"""Stands in every body; a phone number, as in a real one."""

BODIES: Final = {
    "good": b'{"type": "cdr", "payload": {"number": "0825550142"}}',
    "not JSON": b"not json 0825550142 {",
    "not UTF-8": b"\xff\xfe 0825550142 caf\xe9",
    "white space": b"  0825550142\r\n",
    "rejected": b'{"reject": "0825550142"}',
    "rejected, not UTF-8": b'\xff{"reject": "0825550142"}',
    "failing": b'{"fail": "0825550142"}',
    "failing, not UTF-8": b'\xff{"fail": "0825550142"}',
}
SECRETS: Final = {
    "user info of the webhook": "w3bh00k-pass",
    "signing secret": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "header": "h3ad3r-value",
    "query of the webhook": "qu3ry-token",
    "password of Redis": "r3dis-pass",
}


def judged(body: bytes) -> int:
    return 400 if b"reject" in body else 500 if b"fail" in body else 204


def lines_of(child: Child) -> list[dict[str, Any]]:
    """Return every line, which must be JSON."""
    return [json.loads(line) for line in child.log.read_text().splitlines()]


async def stopped(child: Child) -> None:
    child.signal(signal.SIGTERM)
    assert await child.ended() == 0


@asynccontextmanager
async def user_of(client: Redis, name: str) -> AsyncIterator[None]:
    await client.acl_setuser(
        name, enabled=True, passwords=f"+{SECRETS['password of Redis']}", keys="*", commands=["+@all"]
    )
    try:
        yield
    finally:
        await client.acl_deluser(name)


def with_secrets(variables: dict[str, str], user: str) -> dict[str, str]:
    webhook = variables["CDR_WEBHOOK_URL"].replace("//", f"//ann:{SECRETS['user info of the webhook']}@")
    return variables | {
        "CDR_WEBHOOK_URL": f"{webhook}?key={SECRETS['query of the webhook']}",
        "CDR_WEBHOOK_SECRET": f"whsec_{SECRETS['signing secret']}",
        "CDR_WEBHOOK_HEADERS": json.dumps({"x-key": SECRETS["header"]}),
        "CDR_REDIS_URL": variables["CDR_REDIS_URL"].replace("//", f"//{user}:{SECRETS['password of Redis']}@"),
    }


@dataclass
class Run:
    """A forwarder that said all it has to say, at level debug, about odd CDRs of every fate."""

    child: Child

    @property
    def text(self) -> str:
        return self.child.log.read_text()

    @property
    def names(self) -> set[str]:
        return {line["event"] for line in lines_of(self.child)}


OLD: Final = History(
    attempts=20,
    strikes=5,
    first_failed_at=1,
    first_strike_at=1,
    last_failed_at=1,
    last_result="http_4xx",
    first_rejected_at=1,
)
"""Of a CDR that is a dead letter when it fails once more, if others were accepted."""


@pytest.fixture
async def eventful(world: World) -> AsyncIterator[Run]:
    world.receiver.judge = judged
    retry = world.retry
    chosen = {"CDR_SWEEP_INTERVAL": "0.2", "CDR_GIVE_UP_AFTER": "0.1", "CDR_WEBHOOK_BREAKER_THRESHOLD": "5"}
    async with user_of(world.redis, world.integrator):
        await world.redis.rpush(world.source, *BODIES.values())
        child = await world.launch(with_secrets(world.variables, world.integrator) | chosen, "run")
        await eventually(lambda: len(child.events("cdr.deferred")) >= 4)
        await eventually(lambda: len(child.events("cdr.delivered")) >= 4)
        refused = [body for body in BODIES.values() if judged(body) != 204]
        await world.redis.zadd(retry, {member_of(f"old-{number}", OLD, body): 0 for number, body in enumerate(refused)})
        await eventually(lambda: len(child.events("cdr.dead_lettered")) >= 4)
        await eventually(lambda: gone(world.redis, world.source, world.processing))
        world.receiver.status = 503
        world.receiver.judge = lambda _: world.receiver.status
        await world.redis.rpush(world.source, *(b"down %d " % number + MARK for number in range(8)))
        await eventually(lambda: child.events("endpoint.lost"))
        await stopped(child)
        yield Run(child)


async def test_no_line_holds_anything_of_a_cdr(eventful: Run) -> None:
    """Not at debug, not of one that fails, not in base64: they hold phone numbers."""
    assert {"cdr.delivered", "cdr.deferred", "cdr.dead_lettered", "attempt.failed", "endpoint.lost"} <= eventful.names
    assert MARK.decode() not in eventful.text
    for name, body in BODIES.items():
        assert base64.b64encode(body).decode() not in eventful.text, name
        assert body.hex() not in eventful.text, name


async def test_no_line_holds_a_secret(eventful: Run) -> None:
    """Passwords, tokens, header values, user info and query of URLs; the host stays, so that one knows where."""
    assert "127.0.0.1" in eventful.text
    for name, secret in SECRETS.items():
        assert secret not in eventful.text, name
        assert base64.b64encode(f"ann:{secret}".encode()).decode() not in eventful.text, name


async def test_every_line_is_an_event(eventful: Run) -> None:
    """JSON, named noun.verb, with a level and a time in UTC."""
    for line in lines_of(eventful.child):
        assert NOUN_VERB.fullmatch(line["event"]), line
        assert line["level"] in LEVELS, line
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None, line


async def test_a_start_and_a_stop_are_told(eventful: Run) -> None:
    """What runs, from where to where; and the exit status."""
    first, last = (lines_of(eventful.child)[index] for index in (0, -1))
    assert first["event"] == "service.started"
    assert {"version", "integrator", "sources", "endpoints"} <= first.keys()
    assert (last["event"], last["exit_status"]) == ("service.stopped", 0)


async def test_at_info_there_is_no_line_per_cdr(world: World) -> None:
    """A hundred CDRs, some of which need a second attempt, say nothing."""
    pushed = [b"cdr %d" % number for number in range(100)]
    world.receiver.judge = lambda _: 500 if len(world.receiver.arrivals) < 5 else 204
    await world.redis.rpush(world.source, *pushed)
    child = await world.start({"CDR_LOG_LEVEL": "info"})
    await eventually(lambda: world.receiver.bodies.total() == len(pushed))
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    await stopped(child)
    said = [line["event"] for line in lines_of(child)]
    assert said == ["service.started", "slot.taken", "service.stopping", "service.stopped"]


@pytest.fixture
async def crashed(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Child:
    """A forwarder with a bug in it, which meets a CDR."""
    code = (
        "from app.delivery.attempt import Attempt\n"
        "async def post(self, message):\n"
        "    copied = bytes(message.body)\n"
        "    raise RuntimeError('out of cheese')\n"
        "Attempt.post = post\n"
    )
    (tmp_path / "sitecustomize.py").write_text(code)
    faulty = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "CDR_LOG_FORMAT": request.param}
    await world.redis.rpush(world.source, BODIES["good"])
    child = await world.start(faulty)
    assert await child.ended() == 1
    return child


@pytest.mark.parametrize("crashed", ["json", "console"], indirect=True)
async def test_a_crash_tells_where_and_not_what(crashed: Child) -> None:
    """The traceback is there, and shows no local variables: they hold CDRs."""
    said = crashed.log.read_text()
    assert "service.crashed" in said
    assert "out of cheese" in said
    assert "worker.py" in said
    assert MARK.decode() not in said


async def test_the_console_format_is_for_people(world: World) -> None:
    """One line for each event, with the same names and fields, and no JSON."""
    await world.redis.rpush(world.source, BODIES["good"])
    child = await world.start({"CDR_LOG_FORMAT": "console"})
    await eventually(lambda: world.receiver.bodies[BODIES["good"]])
    await eventually(lambda: gone(world.redis, world.source, world.processing))
    await stopped(child)
    said = re.sub(r"\x1b\[[0-9;]*m", "", child.log.read_text())
    assert all(name in said for name in ("service.started", "cdr.delivered", "attempts=1", "service.stopped"))
    assert not child.events()
    assert MARK.decode() not in said
