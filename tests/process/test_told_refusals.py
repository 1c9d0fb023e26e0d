"""What Redis refuses and only a person can cure: an event that says what to do, metrics, and not ready."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import httpx
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis, free_port
from app.store.retry_set import member_of
from tests.process.test_events import OLD
from tests.redis.rig import acl
from tests.support.harness import eventually, running, settings_from
from tests.support.metrics import Metrics, metrics_of
from tests.support.receiver import Receiver
from tests.support.world import World

PASSWORD: Final = "not-the-r1ght-one"
QUICK: Final = Timings(operator_pause=0.05, sample=0.05, reminder=0.4)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def watched(variables: dict[str, str], port: int) -> dict[str, str]:
    return variables | {"CDR_OPS_PORT": str(port)}


@pytest.fixture
async def user(client: Redis, integrator: str) -> AsyncIterator[str]:
    """An ACL user who may do everything, with another password than the one that we are given."""
    await acl(client, "SETUSER", integrator, "on", ">right", "~*", "&*", "+@all")
    yield integrator
    await client.acl_deluser(integrator)


Said = list[EventDict]


@pytest.fixture
def said() -> Iterator[Said]:
    with capture_logs() as events:
        yield events


async def _of(port: int) -> Metrics:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        return await metrics_of(http)


async def _readiness(port: int) -> tuple[int, str]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        answer = await http.get("/readyz")
        return answer.status_code, answer.text


def _named(said: Said, name: str) -> Said:
    return [event for event in said if event["event"] == name]


async def _is_ready(port: int) -> bool:
    with suppress(httpx.ConnectError):  # it may not listen yet
        found = await _of(port)
        return bool(found["ready",] == found["redis_up", "cdr"] == 1)
    return False


async def test_a_wrong_password_is_told_by_all_means(
    watched: dict[str, str], user: str, client: Redis, port: int, said: Said
) -> None:
    """One error, whatever command met it: it names the variable and the host, and is repeated; never the password."""
    given = {"CDR_REDIS_USERNAME": user, "CDR_REDIS_PASSWORD": PASSWORD}
    async with running(settings_from(watched | given), QUICK):
        # given: refused logins, for longer than the reminder
        await eventually(lambda: len(_named(said, "redis.refused")) == 2)
        # then
        first, second = _named(said, "redis.refused")
        assert first == second
        assert (first["log_level"], first["variable"]) == ("error", "CDR_REDIS_PASSWORD")
        assert first["place"] == watched["CDR_REDIS_URL"].removesuffix("0") + "***"
        assert "restart" in first["advice"]
        found = await _of(port)
        assert found["ready",] == found["redis_up", "cdr"] == 0
        assert "Redis refuses our login" in (await _readiness(port))[1]
        assert PASSWORD not in str(said)
        # when: the password becomes what was configured
        await acl(client, "SETUSER", user, f">{PASSWORD}")
        # then
        await eventually(lambda: _is_ready(port))
    assert len(_named(said, "redis.accepted")) == 1


async def test_a_password_that_is_changed_while_we_run_is_told_once(
    watched: dict[str, str], user: str, client: Redis, port: int, said: Said
) -> None:
    """Many connections are refused at once, for many commands: that is one line."""
    url = watched["CDR_REDIS_URL"].replace("://", f"://{user}:right@")
    async with running(settings_from(watched | {"CDR_REDIS_URL": url}), Timings(operator_pause=0.05, sample=0.05)):
        await eventually(lambda: _is_ready(port))
        await acl(client, "SETUSER", user, "<right", ">another")
        await client.execute_command("CLIENT", "KILL", "USER", user)  # type: ignore[no-untyped-call]
        await eventually(lambda: _named(said, "redis.refused"))
        await eventually(lambda: _is_down(port))
        [told] = _named(said, "redis.refused")
        assert told["variable"] == "CDR_REDIS_URL"
        assert "right" not in str(told).replace("rights", "")
        await acl(client, "SETUSER", user, ">right")
        await eventually(lambda: _is_ready(port))


async def _is_down(port: int) -> bool:
    return not (await _of(port))["redis_up", "cdr"]


async def test_a_source_of_the_wrong_type_is_told(
    watched: dict[str, str], client: Redis, source: str, port: int, said: Said
) -> None:
    """An error that names the key and the host; not ready; and Redis is up."""
    await client.set(source, "a string")
    async with running(settings_from(watched), QUICK):
        await eventually(lambda: _named(said, "redis.refused"))
        told = _named(said, "redis.refused")[0]
        assert told["log_level"] == "error"
        assert source in told["command"]
        assert "rename the key" in told["advice"]
        assert told["place"] == watched["CDR_REDIS_URL"].removesuffix("0") + "***"
        assert await _readiness(port) == (503, "a key in Redis has the wrong type\n")
        found = await _of(port)
        assert (found["redis_up", "cdr"], found["ready",]) == (1, 0)
        await client.delete(source)
        await eventually(lambda: _is_ready(port))


async def test_missing_rights_are_repeated_and_not_for_each_try(
    watched: dict[str, str], user: str, client: Redis, port: int, said: Said
) -> None:
    """Tried every few seconds, told every ten minutes; not ready meanwhile."""
    await acl(client, "SETUSER", user, "-lpop")
    url = watched["CDR_REDIS_URL"].replace("://", f"://{user}:right@")
    async with running(settings_from(watched | {"CDR_REDIS_URL": url}), Timings(operator_pause=0.02)):
        await eventually(lambda: _named(said, "rights.missing"))
        await _tries(client, 10)
        [told] = _named(said, "rights.missing")
        assert (told["log_level"], told["refusals"][0].split(":")[0]) == ("error", "LPOP")
        assert "Redis refuses us a command or a key" in (await _readiness(port))[1]
        await acl(client, "SETUSER", user, "+lpop")
        await eventually(lambda: _is_ready(port))


async def _tries(client: Redis, number: int) -> None:
    """Wait until scripts were run so many times more."""

    async def calls() -> int:
        return int((await client.info("commandstats"))["cmdstat_evalsha"]["calls"])

    before = await calls()

    async def enough() -> bool:
        return await calls() >= before + number

    await eventually(enough)


# --- what Redis quotes

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _serving(serve: Serve) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def test_what_redis_quotes_of_a_login_is_masked(
    variables: dict[str, str], own_redis: EmbeddedRedis, receiver: Receiver, said: Said
) -> None:
    """Where AUTH is unknown, Redis repeats the password in its answer; our events do not."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(f"-ERR unknown command 'AUTH', with args beginning with: 'ann' '{PASSWORD}' \r\n".encode())
        writer.close()

    async with _serving(serve) as port:
        url = f"redis://ann:{PASSWORD}@127.0.0.1:{port}"
        async with running(settings_from(variables | {"CDR_REDIS_URL": url}), QUICK):
            await eventually(lambda: _named(said, "redis.refused"))
    assert PASSWORD not in str(said)
    assert _named(said, "redis.refused")[0]["variable"] == "CDR_REDIS_URL"


# --- what an endpoint refuses


async def test_three_thousand_dead_letters_are_no_three_thousand_lines(world: World, said: Said) -> None:
    """The first is told at once, and the others together: nothing else is pushed out of the recent events."""
    world.receiver.judge = lambda body: 422 if body.startswith(b"bad") else 204
    bad = {member_of(f"old-{number}", OLD, b"bad %d" % number): 0 for number in range(3000)}
    async with running(settings_from(world.variables | {"CDR_LOG_LEVEL": "info"})):
        await world.redis.rpush(world.source, *[b"good %d" % number for number in range(300)])
        await eventually(lambda: world.receiver.arrivals)
        await world.redis.zadd(world.retry, bad)
        await eventually(lambda: _all_dead(world.redis, world.source, world.dead))
    told = _named(said, "cdrs.dead_lettered")
    assert [event["log_level"] for event in told] == ["error", "error"]
    assert sum(event["number"] for event in told) == 3000
    assert told[1]["reasons"] == {"rejected (422)": 2999}
    assert "dead-letters list" in told[1]["advice"]
    assert len([event for event in said if event["log_level"] != "debug"]) < 15


async def _all_dead(client: Redis, source: str, dead: str) -> bool:
    await client.rpush(source, b"another good one")  # a rejection counts only while others are accepted
    return await client.llen(dead) == 3000
