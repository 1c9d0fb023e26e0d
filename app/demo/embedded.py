"""Start a real Redis server, for the demo and for tests."""

import asyncio
import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.demo.leash import Leash
from app.demo.server_binary import find_server
from app.errors import ForwarderError

START_DEADLINE = 20.0
STOP_DEADLINE = 10.0
POLL = 0.005

# Below every system's ephemeral ports. Otherwise a client that keeps calling a server that is down may be given that
# very port as its own, connect to itself, and keep the server from coming back.
FIRST_PORT, PORTS = 20_000, 12_000


def free_port() -> int:
    return next(port for port in iter(_random_port, 0) if is_free(port))


def is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return trial.connect_ex(("127.0.0.1", port)) != 0


def _random_port() -> int:
    return FIRST_PORT + secrets.randbelow(PORTS)


class EmbeddedRedis:
    """Runs a server of our own on loopback. It keeps its data and log in `directory`, and dies when we do.

    `port` 0 takes one from `find_port`, which it then keeps. `options` are the server's, with underscores for dashes.
    """

    def __init__(  # noqa: PLR0913 - each is one thing that a test varies
        self,
        directory: Path,
        *,
        server: Path | None = None,
        port: int = 0,
        unix_socket: Path | None = None,
        appendonly: bool = True,
        appendfsync: str = "everysec",
        find_port: Callable[[], int] = free_port,
        **options: str,
    ) -> None:
        self.directory = directory
        self.server = server or find_server()
        self.port = port
        self.unix_socket = unix_socket
        self._find_port = find_port
        self.options = {"appendonly": "yes" if appendonly else "no", "appendfsync": appendfsync, **options}
        self.process: subprocess.Popen[bytes]
        self._leash: Leash
        # A port that we chose ourselves may be taken by the time the server starts: then another one is tried.
        self._chosen = port != 0 or unix_socket is not None
        self._log_offset = 0

    @property
    def url(self) -> str:
        password = self.options.get("requirepass", "")
        login = f":{quote(password, safe='')}@" if password else ""
        if self.unix_socket:
            return f"unix://{login}{self.unix_socket}"
        return f"redis://{login}127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        return self.directory / "redis.log"

    def start(self) -> Self:
        """Start the server, and return when it answers."""
        deadline = time.monotonic() + START_DEADLINE
        while not self._came_up(deadline):
            said = self.log.read_bytes()[self._log_offset :].decode(errors="replace")
            self.kill()
            if "in use" not in said or time.monotonic() > deadline:
                raise ForwarderError(f"{self.server} did not start:\n{said or '(it said nothing)'}")
        self._chosen = True
        return self

    def kill(self) -> None:
        """Send SIGKILL, as the kernel's out-of-memory killer would."""
        self.process.kill()
        self._leash.release()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._leash.release()
        self.process.wait()

    def restart(self) -> Self:
        """Start again on the same port and data."""
        if self.process.poll() is None:
            self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def _came_up(self, deadline: float) -> bool:
        if not self._chosen:
            self.port = self._find_port()
        self._launch()
        while self.process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return True
            time.sleep(POLL)
        return False

    def _launch(self) -> None:
        self._leash = Leash()
        with self._leash, self.log.open("ab") as log:
            self._log_offset = log.tell()
            self.process = subprocess.Popen(  # noqa: S603 - a server that we found ourselves
                self._leash.on(self.server, *self._arguments()),
                stdin=self._leash.childs_end,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={"LC_ALL": "C"},
                start_new_session=True,
            )

    def _arguments(self) -> list[str]:
        where = {
            "bind": "127.0.0.1",
            "port": str(0 if self.unix_socket else self.port),
            "dir": str(self.directory),
        }
        if self.unix_socket:
            where["unixsocket"] = str(self.unix_socket)
        settings = {**where, "save": "", "daemonize": "no", **self.options}
        return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]

    def _answers(self) -> bool:
        """Tell whether it is our server that answers, and not another one that took this port first."""
        client = Redis.from_url(
            self.url, protocol=2, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
        )
        with client:
            try:
                return bool(client.ping()) and client.info("server")["process_id"] == self.process.pid
            except RedisError:
                return False
