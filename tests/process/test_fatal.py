"""Why the service ends, or does not begin: an event like all others, and an exit status."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.conftest import StartChild
from tests.support.harness import Child, eventually, gone
from tests.support.receiver import Receiver
from tests.support.repository import ROOT

BAD = {"CDR_LEASE": "soon", "CDR_WEBHOOK_URL": "ftp://user:s3cret@x/s3cret"}
PROBLEMS = [
    "CDR_WEBHOOK_URL: got ftp://x/***; must be a URL: http://…, https://…",
    "CDR_LEASE: got 'soon'; must be a number",
]


def only_events(child: Child) -> list[dict[str, Any]]:
    """Return the events. Each line must be one, with a level and a time in UTC."""
    events = child.events()
    assert len(events) == len(child.log.read_text().splitlines())
    for event in events:
        assert event["level"] == "error"
        assert datetime.fromisoformat(event["timestamp"]).utcoffset() is not None
    return events


@pytest.mark.parametrize("form", [{}, {"CDR_LOG_FORMAT": "json"}, {"CDR_LOG_FORMAT": "xml"}], ids=str)
async def test_bad_configuration_is_an_event_for_each_problem(start_child: StartChild, form: dict[str, str]) -> None:
    """Whoever collects the log finds them; also where the format itself is wrong."""
    child = await start_child(BAD | form, "run")
    assert await child.ended() == 2
    events = only_events(child)
    assert {event["event"] for event in events} == {"configuration.refused"}
    assert [event["problem"] for event in events][:2] == PROBLEMS
    assert len(events) == 2 + ("xml" in form.values())


async def test_bad_configuration_on_a_terminal_is_plain_text(start_child: StartChild) -> None:
    """One line for each problem, and nothing around it."""
    child = await start_child(BAD | {"CDR_LOG_FORMAT": "console"}, "run")
    assert await child.ended() == 2
    assert child.log.read_text().splitlines() == PROBLEMS


async def test_a_certificate_that_cannot_be_used_is_bad_configuration(
    start_child: StartChild, variables: dict[str, str], tmp_path: Path
) -> None:
    """It is found when it is loaded, and told in the same way."""
    (tmp_path / "ca").write_text("no certificate")
    child = await start_child(variables | {"CDR_WEBHOOK_CA_FILE": str(tmp_path / "ca")}, "run")
    assert await child.ended() == 2
    [event] = only_events(child)
    assert event["event"] == "configuration.refused"
    assert "CA_FILE" in event["problem"]


async def test_another_installation_of_the_same_name_is_an_event(
    start_child: StartChild, variables: dict[str, str]
) -> None:
    """It is found in Redis, and told like bad configuration."""
    first = await start_child(variables, "run")
    await eventually(lambda: first.events("slot.taken"))
    second = await start_child(variables | {"CDR_SOURCE_KEY": "elsewhere"}, "run")
    assert await second.ended() == 2
    [event] = second.events("configuration.refused")
    assert event["level"] == "error"
    assert "give each installation a name of its own" in event["problem"]
    assert "Traceback" not in second.log.read_text()


def with_a_bug(directory: Path, code: str) -> dict[str, str]:
    """Return variables with which every Python process is started with this code."""
    (directory / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{directory}:{ROOT}"}


@pytest.mark.parametrize("form", ["json", "console"])
async def test_a_redis_that_cannot_be_used_is_an_event(
    start_child: StartChild, variables: dict[str, str], tmp_path: Path, form: str
) -> None:
    """Exit status 2, without a traceback: a person has to act."""
    code = (
        "import app.service\nfrom app.errors import RedisUnusableError\n"
        "def bug(*_):\n    raise RedisUnusableError('Redis 5 is too old')\napp.service.Service.run = bug\n"
    )
    child = await start_child(variables | with_a_bug(tmp_path, code) | {"CDR_LOG_FORMAT": form}, "run")
    assert await child.ended() == 2
    if form == "json":
        [event] = only_events(child)
        assert (event["event"], event["error"]) == ("redis.unusable", "Redis 5 is too old")
    else:
        assert child.log.read_text() == "Redis 5 is too old\n"


@pytest.mark.parametrize("place", ["app.service.Service.run = bug", "app.cli.run.load_settings = bug"])
async def test_a_crash_is_an_event(
    start_child: StartChild, variables: dict[str, str], tmp_path: Path, place: str
) -> None:
    """Exit status 1 and one line with the traceback, also before there are settings."""
    code = f"import app.cli.run\nimport app.service\ndef bug(*_):\n    raise RuntimeError('out of cheese')\n{place}\n"
    child = await start_child(variables | with_a_bug(tmp_path, code), "run")
    assert await child.ended() == 1
    [event] = only_events(child)
    assert event["event"] == "service.crashed"
    assert "RuntimeError: out of cheese" in event["exception"]


async def test_a_redis_that_is_not_verified_is_warned_about(start_child: StartChild, variables: dict[str, str]) -> None:
    """As an endpoint with TLS_VERIFY=false is."""
    variables |= {"CDR_REDIS_URL": "rediss://127.0.0.1:1/0?ssl_cert_reqs=none"}
    child = await start_child(variables, "run")
    [event] = await eventually(lambda: child.events("redis.unverified"))
    assert event["level"] == "warning"
    assert "ssl_cert_reqs" in event["advice"]


async def test_a_header_that_expects_something_never_reaches_a_receiver(
    start_child: StartChild, variables: dict[str, str], client: Redis, receiver: Receiver, source: str
) -> None:
    """`expect: 100-continue` would make a receiver wait for a body that waits for it: refused at start."""
    await client.rpush(source, b"cdr")
    child = await start_child(variables | {"CDR_WEBHOOK_HEADERS": '{"Expect": "100-continue"}'}, "run")
    assert await child.ended() == 2
    assert not receiver.bodies
    assert not await gone(client, source)
