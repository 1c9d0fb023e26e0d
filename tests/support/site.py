"""A receiver of deploy/receivers/ as an integrator runs it: a process, its port and its store."""

import asyncio
import base64
import json
import os
import socket
import sqlite3
import sys
from asyncio.subprocess import Process
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, prlimit
from typing import Final

import httpx
from standardwebhooks import Webhook

from tests.support.harness import eventually
from tests.support.postgresql import PostgreSql
from tests.support.repository import ROOT
from tests.support.tools import tool

RECEIVERS: Final = ROOT / "deploy" / "receivers"
SECRET: Final = "whsec_" + base64.b64encode(b"a key of the site itself").decode()
LANGUAGES: Final = ("php", "node", "python")

Row = tuple[str, bytes]


def command(language: str, address: str) -> list[str]:
    """Return how deploy/receivers/README.md says to try it."""
    match language:
        case "php":
            return [tool("php"), "-S", address, str(RECEIVERS / "receiver.php")]
        case "node":
            return [tool("node"), str(RECEIVERS / "receiver.mjs"), address]
    return [sys.executable, str(RECEIVERS / "receiver.py"), address]


class Site:
    """Runs a receiver, which may be killed and started again on the same port."""

    def __init__(
        self, language: str, directory: Path, secret: str = SECRET, database: PostgreSql | None = None
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{self.address}/cdr"
        self._command = command(language, self.address)
        self._store = directory / ("cdrs.jsonl" if language == "node" else "cdrs.sqlite")
        self._database = database
        self._secret = secret
        self._process: Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env={
                "PATH": os.environ["PATH"],
                "CDR_WEBHOOK_SECRET": self._secret,
                "CDR_STORE": self._database.url if self._database else str(self._store),
            },
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            restore_signals=False,  # SIGXFSZ stays ignored: a full disk is an error, and no signal
        )
        await eventually(self._answers)

    async def kill(self) -> None:
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def break_store(self) -> None:
        """Let no file of the receiver grow; its database is stopped."""
        self._limit_files(0)
        if self._database:
            self._database.stop()

    def mend_store(self) -> None:
        self._limit_files(RLIM_INFINITY)
        if self._database:
            self._database.start()

    def _limit_files(self, size: int) -> None:
        assert self._process
        prlimit(self._process.pid, RLIMIT_FSIZE, (size, RLIM_INFINITY))

    def stored(self) -> list[Row]:
        """Return id and bytes of each CDR that is in the store, in order of arrival."""
        if self._database:
            return self._database.query("SELECT webhook_id, body FROM cdr ORDER BY ctid")
        if not self._store.exists():
            return []
        if self._store.suffix == ".jsonl":
            lines = self._store.read_bytes().split(b"\n")[:-1]
            return [(line["webhook_id"], _bytes_of(line)) for line in map(json.loads, lines)]
        with closing(sqlite3.connect(self._store)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'cdr'").fetchall():
                return []
            rows = database.execute("SELECT webhook_id, body FROM cdr ORDER BY rowid").fetchall()
        return [(webhook_id, body.encode() if isinstance(body, str) else body) for webhook_id, body in rows]

    async def _answers(self) -> bool:
        host, port = self.address.split(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True


def signed(webhook_id: str, body: str, secret: str = SECRET, age: float = 0) -> dict[str, str]:
    """Return the headers of a request, signed by the library of Standard Webhooks `age` seconds ago."""
    at = datetime.fromtimestamp(int(datetime.now(UTC).timestamp() - age), UTC)
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, at, body),
    }


async def answer(site: Site, headers: dict[str, str], body: str | bytes) -> int:
    """POST it, and return the status."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return (await client.post(site.url, headers=headers, content=body)).status_code


def _bytes_of(line: dict[str, str]) -> bytes:
    return base64.b64decode(line["cdr_base64"]) if "cdr_base64" in line else line["cdr"].encode()
