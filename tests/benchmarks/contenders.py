"""The processes that take part in a benchmark: started, ready, measured and stopped from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from app.demo.embedded import free_port, is_free
from app.demo.leash import Leash

ROOT = Path(__file__).parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
READY_DEADLINE = 60.0
STOP_DEADLINE = 30.0
POLL = 0.005
ASKED_EVERY = 0.05
"""Seconds; to answer costs the endpoint CPU."""

Lines = Sequence[str]


def until(condition: Callable[[], Any], seconds: float, pause: float = POLL) -> bool:
    """Wait until it holds; False where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def module(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", name, *map(str, arguments)]


def process_module(name: str, *arguments: object) -> list[str]:
    return module(f"tests.benchmarks.processes.{name}", *arguments)


def launch(
    command: Lines, environment: Mapping[str, str], stdout: int | IO[bytes], stderr: int | IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start a child that dies when we do."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CDR_")}
    leash = Leash()
    with leash:
        return subprocess.Popen(
            leash.on(*command),
            stdin=leash.childs_end,
            stdout=stdout,
            stderr=stderr,
            cwd=ROOT,
            env={**inherited, **environment},
            start_new_session=True,
        )


def cpu_seconds_of(process: subprocess.Popen[bytes]) -> float:
    """Return user + system, by the kernel's own count."""
    _, _, fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(") ")
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / TICKS


class Contender:
    """A forwarder, ours or another."""

    def __init__(self, command: Lines, environment: Mapping[str, str], ready: bytes, log: Path) -> None:
        with log.open("wb") as file:
            self.process = launch(command, environment, subprocess.DEVNULL, file)
        self.log = log
        if not until(lambda: ready in log.read_bytes() or self.process.poll() is not None, READY_DEADLINE):
            self.process.kill()
        if ready not in log.read_bytes():
            raise RuntimeError(f"{command} did not become ready:\n{log.read_text(errors='replace')}")

    def cpu_seconds(self) -> float:
        return cpu_seconds_of(self.process)

    def peak_mib(self) -> float:
        return self._memory("VmHWM")

    def resident_mib(self) -> float:
        return self._memory("VmRSS")

    def _memory(self, name: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        line = next(line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1]) / 1024

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Listener:
    """A process that prints the port on which it listens."""

    def __init__(self, command: Lines) -> None:
        self.process = launch(command, {}, subprocess.PIPE)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def cpu_seconds(self) -> float:
        return cpu_seconds_of(self.process)

    def stop(self) -> bytes:
        """Return what it said at its end."""
        self.process.terminate()
        said, _ = self.process.communicate(timeout=STOP_DEADLINE)
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()


class Receiver(Listener):
    """The endpoint; status 0 never answers. Poison gets a 500, and is not counted."""

    def __init__(self, prefix: Lines = (), status: int = 204) -> None:
        super().__init__([*prefix, *process_module("receiver", status)])
        self.received: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/cdr"

    @property
    def distinct(self) -> int:
        """How many different CDRs had come when it was last asked, or stopped."""
        return int(self.received["distinct"])

    @property
    def last_new_at(self) -> float:
        """When the last of them came, by the monotonic clock."""
        return float(self.received["last_new_at"])

    def ask(self) -> int:
        """Return how many different CDRs have come so far."""
        assert self.process.stdout
        self.process.send_signal(signal.SIGUSR1)
        self.received = json.loads(self.process.stdout.readline())
        return self.distinct

    def await_distinct(self, number: int, most_seconds: float) -> bool:
        """Wait until so many different CDRs have come; False where they do not in time."""
        return until(lambda: self.ask() >= number, most_seconds, ASKED_EVERY)

    def stop(self) -> bytes:
        said = super().stop()
        self.received = json.loads(said)
        return said


class Storing:
    """deploy/receivers/receiver.py, which verifies, stores in SQLite, and then answers."""

    secret = "whsec_" + b64encode(b"a key of this benchmark.").decode()

    def __init__(self, store: Path) -> None:
        address = f"127.0.0.1:{free_port()}"
        command = [sys.executable, str(ROOT / "deploy" / "receivers" / "receiver.py"), address]
        self.url = f"http://{address}/cdr"
        self.process = launch(command, {"CDR_WEBHOOK_SECRET": self.secret, "CDR_STORE": str(store)}, subprocess.DEVNULL)
        if not until(lambda: not is_free(int(address.split(":")[1])), READY_DEADLINE):
            raise RuntimeError(f"{command} did not become ready")

    def cpu_seconds(self) -> float:
        return cpu_seconds_of(self.process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
