"""How Redis is reached, and what its errors mean: provoked on a real one wherever that can be done."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions as refusals
import trustme
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.config.timings import Timings
from app.demo.embedded import EmbeddedRedis, free_port
from app.errors import (
    FencedError,
    ForwarderError,
    LoginRefusedError,
    OperatorRedisError,
    OutOfMemoryError,
    TransientRedisError,
)
from app.store.channel import Channel
from app.store.client import Link
from app.store.meaning import meaning
from tests.support.harness import environment, eventually, gone, running, settings_from
from tests.support.proxy import RedisProxy, nth
from tests.support.receiver import Receiver
from tests.support.servers import KINDS, server_of
from tests.support.world import World

NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


MakeLink = Callable[..., Link]


@pytest.fixture
async def a_link() -> AsyncIterator[MakeLink]:
    """Make a link to a URL; all are closed at the end."""
    links: list[Link] = []

    def make(url: str, name: str = "test", timings: Timings | None = None, **variables: str) -> Link:
        links.append(Link(settings_from(environment(url, NOWHERE, "test", **variables)).sources[0], name, timings))
        return links[-1]

    yield make
    for link in links:
        await link.aclose()


@pytest.fixture
def link(a_link: MakeLink, own_redis: EmbeddedRedis) -> Link:
    return a_link(own_redis.url)


# --- what an error means


OURS = "Error running script (call to f_0): @user_script:9: "
WORDS = [
    (refusals.AuthenticationError("WRONGPASS invalid username-password pair"), LoginRefusedError),
    (refusals.AuthenticationError("Authentication required."), LoginRefusedError),
    (refusals.NoPermissionError("this user has no permissions to run the 'lmove' command"), OperatorRedisError),
    (refusals.ResponseError(f"{OURS}NOPERM this user has no permissions"), OperatorRedisError),
    (
        refusals.ResponseError(f"{OURS}The user executing the script can't run this command or subcommand"),
        OperatorRedisError,
    ),
    (
        refusals.ResponseError(f"{OURS}The user executing the script can't access at least one of the keys"),
        OperatorRedisError,
    ),
    (refusals.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), OperatorRedisError),
    (refusals.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), OutOfMemoryError),
    (refusals.ResponseError(f"{OURS}OOM command not allowed when used memory > 'maxmemory'."), OutOfMemoryError),
    (refusals.ResponseError("FENCED the lease of this processing list is gone"), FencedError),
]


@pytest.mark.parametrize(("error", "kind"), WORDS, ids=str)
def test_what_is_said_decides_what_it_means(error: Exception, kind: type[ForwarderError]) -> None:
    """Not the tree of redis-py, where a wrong password is a ConnectionError and an old NOPERM has no class."""
    assert type(meaning(error)) is kind
    assert str(meaning(error)) == str(error)


TRANSIENT = [
    (refusals.ReadOnlyError("You can't write against a read only replica."), False, True),
    (refusals.ClusterDownError("CLUSTERDOWN The cluster is down"), False, True),
    (refusals.TryAgainError("Multiple keys request during rehashing of slot"), False, True),
    (refusals.MasterDownError("Link with MASTER is down"), False, True),
    (refusals.ResponseError("UNBLOCKED force unblock from blocking operation"), False, True),
    (refusals.ResponseError("MISCONF Redis is configured to save RDB snapshots"), False, True),
    (refusals.ResponseError("NOREPLICAS Not enough good replicas to write."), False, True),
    (refusals.ResponseError("BUSY Redis is busy running a script."), False, True),
    (refusals.MaxConnectionsError("Too many connections"), False, True),
    (refusals.ConnectionError("max number of clients reached"), False, True),
    (refusals.ResponseError("ERR something never heard of"), False, False),
    (refusals.BusyLoadingError("Redis is loading the dataset in memory"), True, True),
    (refusals.ConnectionError("Connection closed by server."), True, True),
    (refusals.TimeoutError("Timeout reading from socket"), True, True),
    (ConnectionRefusedError(111, "Connection refused"), True, True),
    (OSError(), True, True),
]


@pytest.mark.parametrize(("error", "away", "known"), TRANSIENT, ids=lambda value: str(value)[:20])
def test_everything_else_is_transient(error: Exception, away: bool, known: bool) -> None:  # noqa: FBT001
    """`away`: nobody knows whether it was applied. Not `known`: a person should look at it."""
    transient = meaning(error)
    assert type(transient) is TransientRedisError
    assert (transient.away, transient.known) == (away, known)
    assert str(transient)


@pytest.mark.parametrize("late", [TimeoutError(), refusals.TimeoutError()])
def test_an_answer_that_does_not_come_has_words(late: Exception) -> None:
    """Python's has none; a chat shows them."""
    assert str(meaning(late)) == "no answer in time"


async def error_of(link: Link, send: Callable[[], Awaitable[Any]]) -> ForwarderError:
    with pytest.raises(ForwarderError) as raised:
        await link.call("test", send)
    return raised.value


async def test_a_wrong_type_is_a_persons_business(link: Link) -> None:
    """WRONGTYPE, by a command and by a script."""
    await link.commands.set("key", "a string")
    script = link.commands.register_script("return redis.call('LLEN', KEYS[1])")
    assert isinstance(await error_of(link, lambda: link.commands.llen("key")), OperatorRedisError)
    assert isinstance(await error_of(link, lambda: script(keys=["key"])), OperatorRedisError)


@pytest.mark.parametrize("server", KINDS)
async def test_a_missing_right_is_a_persons_business(a_link: MakeLink, server: str, tmp_path: Path) -> None:
    """NOPERM to run a command, within a script, and to use a key: each version has its own words for it."""
    async with EmbeddedRedis(tmp_path, server=server_of(server), appendonly=False) as redis:
        limited = ["SETUSER", "limited", "on", "nopass", "~ours:*", "+@all", "-llen"]
        async with Redis.from_url(redis.url) as client:
            await client.execute_command("ACL", *limited)  # type: ignore[no-untyped-call]
        link = a_link(redis.url, redis_username="limited", redis_password="any")
        script = link.commands.register_script("return redis.call('LLEN', 'ours:key')")
        assert isinstance(await error_of(link, lambda: link.commands.llen("ours:key")), OperatorRedisError)
        assert isinstance(await error_of(link, script), OperatorRedisError)
        assert isinstance(await error_of(link, lambda: link.commands.lrange("theirs", 0, 1)), OperatorRedisError)
        assert isinstance(await error_of(link, lambda: script(keys=["theirs"])), OperatorRedisError)


@pytest.mark.parametrize("password", ["wrong", None])
async def test_arefused_login_is_a_persons_business(
    a_link: MakeLink, link: Link, own_redis: EmbeddedRedis, own_client: Redis, password: str | None
) -> None:
    """WRONGPASS, or NOAUTH without any."""
    await own_client.config_set("requirepass", "right")
    variables = {"redis_password": password} if password else {}
    refused = a_link(own_redis.url, **variables)
    assert isinstance(await error_of(refused, refused.commands.ping), OperatorRedisError)


@pytest.mark.parametrize("server", KINDS)
async def test_a_full_redis_is_told_apart(a_link: MakeLink, server: str, tmp_path: Path) -> None:
    """OOM, by a command and by a script."""
    async with EmbeddedRedis(tmp_path, server=server_of(server), appendonly=False) as redis:
        link = a_link(redis.url)
        await link.commands.config_set("maxmemory", "1")
        script = link.commands.register_script("return redis.call('SET', KEYS[1], 'value')")
        assert isinstance(await error_of(link, lambda: link.commands.set("key", "value")), OutOfMemoryError)
        assert isinstance(await error_of(link, lambda: script(keys=["key"])), OutOfMemoryError)


def assert_known(error: ForwarderError) -> None:
    assert type(error) is TransientRedisError
    assert (error.away, error.known) == (False, True)


@pytest.mark.parametrize("server", KINDS)
@pytest.mark.parametrize(
    "configuration",
    [{"min-replicas-to-write": "1"}, {"replica-serve-stale-data": "no"}, {}],
    ids=["NOREPLICAS", "MASTERDOWN", "READONLY"],
)
async def test_a_failover_will_pass(
    a_link: MakeLink, configuration: dict[str, str], server: str, tmp_path: Path
) -> None:
    """A master without its replicas, or demoted: known, by a command and by a script of ours."""
    async with EmbeddedRedis(tmp_path, server=server_of(server), appendonly=False) as redis:
        link = a_link(redis.url)
        script = link.script("take")
        await script(keys=["owner", "ops"], args=["me", 10_000])
        for name, value in configuration.items():
            await link.commands.config_set(name, value)
        if "min-replicas-to-write" not in configuration:
            await link.commands.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
        assert_known(await error_of(link, lambda: link.commands.set("key", "value")))
        assert_known(await error_of(link, lambda: script(keys=["owner", "ops"], args=["me", 10_000])))


async def test_a_busy_redis_will_pass(link: Link, own_client: Redis) -> None:
    """BUSY: somebody's script runs for long."""
    await own_client.config_set("lua-time-limit", "1")
    await link.commands.ping()
    endless = asyncio.create_task(_outcome(own_client.eval("while true do end", 0)))
    error = await eventually(lambda: _busy(link))
    await link.commands.script_kill()
    await endless
    assert_known(error)


async def _outcome(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except refusals.RedisError as error:
        return error


async def _busy(link: Link) -> ForwarderError | None:
    try:
        await link.call("test", link.commands.dbsize)
    except ForwarderError as error:
        return error
    return None


async def test_a_claim_that_is_unblocked_with_an_error_will_pass(link: Link, own_client: Redis) -> None:
    """UNBLOCKED: what a demotion says to those that wait."""
    waiting = asyncio.create_task(error_of(link, lambda: blmove(link)))
    blocked = await eventually(lambda: _blocked(own_client))
    await own_client.client_unblock(blocked, error=True)
    assert_known(await waiting)


async def _blocked(client: Redis) -> int | None:
    ids = [int(one["id"]) for one in await client.client_list() if one["cmd"] == "blmove"]
    return ids[0] if ids else None


async def test_too_many_clients_will_pass(link: Link, own_client: Redis) -> None:
    """Redis hangs up with a word that redis-py takes for the end of a connection."""
    await own_client.config_set("maxclients", "1")
    assert_known(await error_of(link, link.commands.ping))


async def test_a_cluster_that_is_down_will_pass(a_link: MakeLink, tmp_path: Path) -> None:
    """CLUSTERDOWN: a node on its own, with slots that nobody serves."""
    async with EmbeddedRedis(tmp_path, appendonly=False, cluster_enabled="yes") as redis:
        link = a_link(redis.url)
        assert_known(await error_of(link, lambda: link.commands.get("key")))


async def test_an_unheard_of_error_wants_a_persons_eye(link: Link, said: list[EventDict]) -> None:
    """It is tried again like all others, but told as an error."""
    error = await error_of(link, lambda: link.commands.execute_command("NO-SUCH"))  # type: ignore[no-untyped-call]
    assert isinstance(error, TransientRedisError)
    assert (error.away, error.known) == (False, False)
    assert [(event["event"], event["log_level"]) for event in said] == [("redis.refused", "error")]


async def test_a_redis_that_is_gone_is_away(link: Link, own_redis: EmbeddedRedis, said: list[EventDict]) -> None:
    """Connection refused: one line when it goes, one when it is back with how long it was gone."""
    await link.call("test", link.commands.ping)
    await asyncio.to_thread(own_redis.kill)
    for _ in range(3):
        error = await error_of(link, link.commands.ping)
        assert isinstance(error, TransientRedisError)
        assert error.away
    await asyncio.to_thread(own_redis.start)
    await link.call("test", link.commands.ping)
    assert [event["event"] for event in said] == ["redis.lost", "redis.back"]
    assert said[1]["after"] > 0


async def test_a_redis_that_is_silent_is_away(a_link: MakeLink, own_redis: EmbeddedRedis) -> None:
    """No reply within the deadline: it may have been applied."""
    link = a_link(own_redis.url, timings=Timings(reply_patience=0.1))
    await link.call("test", link.commands.ping)
    own_redis.process.send_signal(signal.SIGSTOP)
    error = await error_of(link, link.commands.ping)
    own_redis.process.send_signal(signal.SIGCONT)
    assert isinstance(error, TransientRedisError)
    assert error.away


async def test_an_error_is_told_once_and_its_end_too(link: Link, said: list[EventDict]) -> None:
    """However often the command is tried meanwhile."""
    await link.commands.set("key", "a string")
    for _ in range(3):
        await error_of(link, lambda: link.commands.llen("key"))
    await link.commands.delete("key")
    await link.call("test", lambda: link.commands.llen("key"))
    assert [(event["event"], event["command"]) for event in said] == [
        ("redis.refused", "test"),
        ("redis.accepted", "test"),
    ]


async def test_what_may_be_applied_twice_is_sent_until_it_is_answered(
    a_link: MakeLink, own_redis: EmbeddedRedis, own_client: Redis
) -> None:
    """A refusal, whoever has to cure it, is never the end."""
    link = a_link(own_redis.url, timings=Timings(operator_pause=0.02))
    await own_client.set("key", "a string")
    work = asyncio.create_task(link.persist("test", lambda: link.commands.llen("key")))
    await eventually(lambda: "test" in link.refused)
    await own_client.delete("key")
    assert await work == 0


# --- redis-py never sends anything twice


async def blmove(link: Link) -> Any:
    return await Channel(link, 9.0, link.claim_role).ask("BLMOVE", "source", "ours", "LEFT", "RIGHT", 4)


RESENDABLE: dict[str, Callable[[Link], Awaitable[Any]]] = {
    "BLMOVE": blmove,
    "LMOVE": lambda link: link.commands.lmove("source", "ours", "LEFT", "RIGHT"),
    "LREM": lambda link: link.commands.lrem("source", 1, "twin"),
}
"""On a channel, and on the pool."""


@pytest.mark.parametrize("command", RESENDABLE)
async def test_a_command_whose_reply_is_lost_is_not_sent_again(
    a_link: MakeLink, command: str, own_redis: EmbeddedRedis, own_client: Redis
) -> None:
    """A second BLMOVE would hide the first CDR, a second LREM remove a twin: the error is ours to handle."""
    await own_client.rpush("source", "twin", "twin", "twin")
    async with RedisProxy(own_redis) as proxy:
        proxy.loses = nth("reply", command)
        link = a_link(proxy.url)
        error = await error_of(link, lambda: RESENDABLE[command](link))
    assert isinstance(error, TransientRedisError)
    assert error.away
    assert (proxy.seen[command], await own_client.llen("source")) == (1, 2)


@pytest.mark.parametrize("command", RESENDABLE)
async def test_a_command_that_was_lost_is_not_sent_again(
    a_link: MakeLink, command: str, own_redis: EmbeddedRedis
) -> None:
    """From here it looks the same."""
    async with RedisProxy(own_redis) as proxy:
        proxy.loses = nth("command", command)
        link = a_link(proxy.url)
        await error_of(link, lambda: RESENDABLE[command](link))
    assert (proxy.lost["command", command], proxy.seen[command]) == (1, 0)


# --- the waiting claim


async def test_only_ones_own_claim_is_unblocked(a_link: MakeLink, own_redis: EmbeddedRedis, own_client: Redis) -> None:
    """Others wait on the same source."""
    ours, theirs = a_link(own_redis.url, "ours"), a_link(own_redis.url, "theirs")
    claims = [asyncio.create_task(_outcome(RESENDABLE["BLMOVE"](link))) for link in (ours, theirs)]
    await eventually(lambda: _has_blocked(own_client, 2))
    await ours.unblock()
    assert await claims[0] is None
    assert not claims[1].done()
    await own_client.rpush("source", "cdr")
    assert await claims[1] == b"cdr"


async def _has_blocked(client: Redis, number: int) -> bool:
    return bool((await client.info("clients"))["blocked_clients"] == number)


# --- the master changes


WAITING: dict[str, Callable[[Link], Awaitable[Any]]] = {
    "a channel": RESENDABLE["BLMOVE"],
    "the pool": lambda link: link.commands.blmove("source", "ours", 4, "LEFT", "RIGHT"),
}


@pytest.mark.parametrize("where", WAITING)
async def test_connections_in_use_leave_a_master_that_was_replaced(
    where: str, a_link: MakeLink, own_redis: EmbeddedRedis, own_client: Redis
) -> None:
    """It goes on taking what they send for a while, and forgets it: what waits there is given up at once."""
    link = a_link(own_redis.url, timings=Timings(master_look=0.02))
    masters = iter([("first", 1), ("first", 1)])

    async def locate() -> tuple[str, int]:
        return next(masters, ("second", 2))

    link._locate = locate  # noqa: SLF001 - nothing here replaces a master by hand
    waiting = asyncio.create_task(error_of(link, lambda: WAITING[where](link)))
    await eventually(lambda: _has_blocked(own_client, 1))
    watching = asyncio.create_task(link.watch_master())
    async with asyncio.timeout(2):
        error = await waiting
    watching.cancel()
    assert isinstance(error, TransientRedisError)
    assert error.away


# --- how it is reached


async def delivers_one(variables: dict[str, str], client: Redis, receiver: Receiver, source: str) -> None:
    await client.rpush(source, "cdr")
    async with running(settings_from(variables)):
        await eventually(lambda: receiver.bodies[b"cdr"])
        await eventually(lambda: gone(client, source))


async def test_redis_is_reached_by_a_unix_socket(receiver: Receiver, integrator: str, source: str) -> None:
    """unix://, with the password in the URL."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "redis.sock")  # of 107 characters at most, which pytest's own directories exceed
        async with (
            EmbeddedRedis(Path(directory), unix_socket=path, appendonly=False, requirepass="a b@c") as redis,
            Redis.from_url(redis.url) as client,
        ):
            await delivers_one(environment(redis.url, receiver.url, integrator), client, receiver, source)


LOGINS = {
    "by variables": ("", {"redis_username": "user", "redis_password": "p@ss:/#word"}),
    "by the URL": ("user:p%40ss%3A%2F%23word@", {}),
}


@pytest.mark.parametrize("login", LOGINS)
async def test_an_acl_user_logs_in(
    login: str, own_redis: EmbeddedRedis, own_client: Redis, receiver: Receiver, integrator: str, source: str
) -> None:
    """With username and password; the default user may be off."""
    await own_client.acl_setuser("user", enabled=True, passwords=["+p@ss:/#word"], keys=["*"], categories=["+@all"])
    user_info, variables = LOGINS[login]
    url = own_redis.url.replace("redis://", f"redis://{user_info}")
    await own_client.acl_setuser("default", enabled=False)
    await delivers_one(environment(url, receiver.url, integrator, **variables), own_client, receiver, source)


async def test_a_wrong_password_is_waited_for_slowly(own_world: World, said: list[EventDict]) -> None:
    """An error event, one try for each pause, and all goes on when somebody has cured it."""
    pause = 0.3
    await own_world.redis.config_set("requirepass", "right")
    await own_world.redis.rpush(own_world.source, "cdr")
    async with RedisProxy(own_world.server) as proxy:
        variables = environment(proxy.url, own_world.receiver.url, own_world.integrator, redis_password="new")
        async with running(settings_from(variables), Timings(operator_pause=pause)):
            # given: refused logins
            await eventually(lambda: proxy.seen["AUTH"] == 1)
            first = time.monotonic()
            await eventually(lambda: proxy.seen["AUTH"] == 3)
            assert time.monotonic() - first >= 2 * pause - 0.05
            assert [(event["event"], event["log_level"]) for event in said if event["event"] != "service.started"] == [
                ("redis.refused", "error")
            ]
            # when: the password becomes what was configured
            await own_world.redis.config_set("requirepass", "new")
            # then: it goes on
            await eventually(lambda: own_world.receiver.bodies[b"cdr"])
    assert "redis.accepted" in [event["event"] for event in said]


# --- TLS


class Tls:
    """Files of an authority, a server and a client."""

    def __init__(self, directory: Path) -> None:
        self.ca, self.certificate, self.key = (directory / name for name in ("ca.pem", "client.pem", "client.key"))
        self._server, self._server_key = directory / "server.pem", directory / "server.key"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        self._issue(authority, self._server, self._server_key)
        self._issue(authority, self.certificate, self.key)

    @staticmethod
    def _issue(authority: trustme.CA, certificate: Path, key: Path) -> None:
        issued = authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))

    def options(self, port: int, clients: str) -> dict[str, str]:
        files = {"tls_cert_file": self._server, "tls_key_file": self._server_key, "tls_ca_cert_file": self.ca}
        return {"tls_port": str(port), "tls_auth_clients": clients, **{name: str(file) for name, file in files.items()}}


def server_with_tls() -> Path:
    """Return the first server on PATH that was built with TLS; the wheels' are not."""
    for directory in os.get_exec_path():
        for name in ("redis-server", "valkey-server"):
            server = shutil.which(name, path=directory)
            if server and _speaks_tls(server):
                return Path(server)
    missing = "no redis-server with TLS is on PATH (Debian's has it)"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def _speaks_tls(server: str) -> bool:
    """A server that does not know the directive refuses its configuration; one that does misses the certificate."""
    tried = subprocess.run(
        [server, "--port", "0", "--tls-port", str(free_port()), "--save", ""],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return "tls-cert-file" in tried.stdout + tried.stderr


def tls_redis(directory: Path, tls: Tls, port: int, clients: str) -> EmbeddedRedis:
    options: dict[str, Any] = tls.options(port, clients)
    return EmbeddedRedis(directory, server=server_with_tls(), appendonly=False, **options)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


@pytest.mark.parametrize("clients", ["no", "yes"], ids=["CA", "CA and client certificate"])
async def test_redis_is_reached_by_tls(
    clients: str, tls: Tls, tmp_path: Path, receiver: Receiver, integrator: str, source: str
) -> None:
    """rediss://, with an authority of one's own, and a certificate where Redis asks for one."""
    port = free_port()
    ours = {"redis_cert_file": str(tls.certificate), "redis_key_file": str(tls.key)} if clients == "yes" else {}
    variables = environment(f"rediss://127.0.0.1:{port}/0", receiver.url, integrator, redis_ca_file=str(tls.ca), **ours)
    redis = tls_redis(tmp_path, tls, port, clients)
    async with redis, Redis.from_url(redis.url) as client:
        await delivers_one(variables, client, receiver, source)


PARTNER = {"redis_cert_file": "redis_key_file"}


@pytest.mark.parametrize("missing", ["redis_ca_file", "redis_cert_file"])
async def test_a_tls_connection_that_is_not_trusted_is_not_used(
    missing: str, tls: Tls, tmp_path: Path, world: World, said: list[EventDict]
) -> None:
    """An unknown authority, or a client without a certificate: nothing is claimed, and the reason is told."""
    port = free_port()
    files = {"redis_ca_file": tls.ca, "redis_cert_file": tls.certificate, "redis_key_file": tls.key}
    given = {name: str(file) for name, file in files.items() if name not in {missing, PARTNER.get(missing)}}
    variables = environment(f"rediss://127.0.0.1:{port}/0", world.receiver.url, world.integrator, **given)
    redis = tls_redis(tmp_path, tls, port, "yes")
    async with redis, Redis.from_url(redis.url) as client:
        await client.rpush(world.source, "cdr")
        async with running(settings_from(variables)):
            lost = await eventually(lambda: [event for event in said if event["event"] == "redis.lost"])
            assert await client.lrange(world.source, 0, -1) == [b"cdr"]
    assert lost[0]["error"]
