"""Dead letters are dropped at their age, and never without one."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.config.timings import Timings
from app.store.keys import Topology
from tests.support.harness import eventually, running, settings_from


def letter(days: float | None) -> bytes:
    """Return one that died so many days ago; None: it does not say when."""
    died = {} if days is None else {"dead_at": (datetime.now(UTC) - timedelta(days=days)).isoformat()}
    return json.dumps({"id": f"cdr_{days}", "reason": "rejected", "cdr": "x", **died}).encode()


LETTERS = [letter(None), letter(40), letter(31), letter(29), letter(0)]


@pytest.fixture
async def dead(client: Redis, variables: dict[str, str]) -> str:
    key = Topology(settings_from(variables).sources[0]).short.dead
    await client.rpush(key, *LETTERS)
    return key


async def test_what_is_past_its_age_is_dropped(client: Redis, variables: dict[str, str], dead: str) -> None:
    """And nothing else; what does not say when it died is for a person to judge."""
    with capture_logs() as said:
        async with running(settings_from(variables | {"CDR_DEAD_LETTER_MAX_AGE": str(30 * 86400)})):
            await eventually(lambda: [event for event in said if event["event"] == "dead_letters.expired"])
    [expired] = [event for event in said if event["event"] == "dead_letters.expired"]
    assert expired["number"] == 2
    assert await client.lrange(dead, 0, -1) == [LETTERS[0], *LETTERS[3:]]


async def test_without_an_age_all_are_kept(client: Redis, variables: dict[str, str], dead: str) -> None:
    """That is the default."""
    async with running(settings_from(variables)) as service:
        await eventually(service.parts.sources[0].lease.holds)
    assert await client.lrange(dead, 0, -1) == LETTERS


async def test_deliveries_go_on_where_they_cannot_be_dropped(
    client: Redis, variables: dict[str, str], dead: str
) -> None:
    """A key of another type is told, and looked at again."""
    settings = settings_from(variables | {"CDR_DEAD_LETTER_MAX_AGE": "86400"})
    await client.delete(dead)
    await client.set(dead, "a string")
    with capture_logs() as said:
        async with running(settings, Timings(expiry_look=0.05)):
            await eventually(lambda: [event for event in said if event["event"] == "dead_letters.kept"])
            await client.delete(dead)
            await client.rpush(dead, *LETTERS)
            await eventually(lambda: [event for event in said if event["event"] == "dead_letters.expired"])
    assert await client.llen(dead) == 2
