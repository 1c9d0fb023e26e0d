"""A PostgreSQL of our own, on a Unix socket, for what receivers store into."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final, Self

import psycopg
import pytest

from app.demo.leash import Leash
from tests.support.tools import tool

DEBIAN: Final = Path("/usr/lib/postgresql")
UNPRIVILEGED: Final[dict[str, Any]] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
"""The server refuses to run as root."""


def _binary(name: str) -> str:
    """Return where it is: Debian puts only the clients on PATH."""
    found = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(found[-1]) if found else tool(name)


class PostgreSql:
    """Runs a server with default durability, which a test may stop and start again. It dies when we do."""

    def __init__(self) -> None:
        self._initdb, self._postgres = _binary("initdb"), _binary("postgres")
        self._directory = Path(tempfile.mkdtemp(prefix="cdr-postgresql-"))  # that of a test is closed to others
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: Leash
        if UNPRIVILEGED:
            shutil.chown(self._directory, **UNPRIVILEGED)

    @property
    def url(self) -> str:
        return f"postgresql://site@/postgres?host={self._directory}"

    def start(self) -> Self:
        """Start it, and return when it answers."""
        self._leash = Leash()
        with self._leash, (self._directory / "log").open("ab") as log:
            command = (self._postgres, "-D", self._data, "-k", self._directory, "-c", "listen_addresses=")
            self._process = subprocess.Popen(
                self._leash.on(*command), stdin=self._leash.childs_end, stdout=log, stderr=log, **UNPRIVILEGED
            )
        while not self._answers():
            if self._process.poll() is not None:
                pytest.fail((self._directory / "log").read_text())
        return self

    def stop(self) -> None:
        """Stop it at once, whoever is connected."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._leash.release()
            self._process.wait()
            self._process = None

    def query(self, statement: str) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def __enter__(self) -> Self:
        command = (self._initdb, "-D", self._data, "-U", "site", "--auth=trust", "--no-sync", "--encoding=UTF8")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **UNPRIVILEGED)
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._directory)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _answers(self) -> bool:
        try:
            self.query("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True
