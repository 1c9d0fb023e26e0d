"""Runs `python -m app` in a process that is forked with the program loaded: to load it takes half a second of CPU.

Each worker of pytest has one server. It forks the programs, so it is their parent; their owner hears of it by socket.
"""

import asyncio
import atexit
import gc
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

import app

COVERAGE: Final = "COVERAGE_PROCESS_CONFIG"
"""Is set where coverage is measured, in processes of tests, too."""


class Running(Protocol):
    """A process, whoever is its parent."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def send_signal(self, number: int) -> None: ...
    def kill(self) -> None: ...
    async def wait(self) -> int: ...


class Forked:
    """A process that the server has forked."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.create_task(self._end(reader, writer))

    def send_signal(self, number: int) -> None:
        """Send it; nothing happens where the process has ended, even if that is not known here yet."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def _end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        try:
            self.returncode = int(await reader.readline())
        finally:
            writer.close()
        await writer.wait_closed()
        return self.returncode


def is_possible(environment: Mapping[str, str]) -> bool:
    """Tell whether a forked process is the same: an interpreter has read all other variables when it starts.

    Coverage is measured from the fork on: the lines that load the program are measured in the tests' own process.
    """
    return sys.platform == "linux" and all(
        name in {"PATH", COVERAGE} or name.startswith("CDR_") for name in environment
    )


async def fork(environment: Mapping[str, str], arguments: Sequence[str], output: Path) -> Forked:
    """Run the program with these variables only, and append its output to a file."""
    reader, writer = await asyncio.open_unix_connection(server())
    request = {"environment": dict(environment), "arguments": arguments, "output": str(output)}
    writer.write(json.dumps(request).encode() + b"\n")
    return Forked(int(await reader.readline()), reader, writer)


@cache
def server() -> str:
    """Start the server of this worker, and return its address. It ends with the worker, no matter how that ends."""
    ours, theirs = socket.socketpair()
    with theirs, socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # the kernel finds a name that is no file
        listener.listen(64)  # here, so that one may connect while the server still loads the program
        given = (listener.fileno(), theirs.fileno())
        command = (sys.executable, "-m", "tests.support.preloaded", *map(str, given))
        environment = {"PATH": os.environ["PATH"]}
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, pass_fds=given)
        atexit.register(_stop, process, ours)
        return str(listener.getsockname().decode())


def _stop(process: "subprocess.Popen[bytes]", ours: socket.socket) -> None:
    ours.close()
    process.wait()


class Server:
    """Forks a program for each connection, and tells how it ended."""

    def __init__(self, listener: socket.socket, owner: socket.socket) -> None:
        self._listener, self._owner = listener, owner
        self._awaited = selectors.DefaultSelector()
        self._programs: dict[int, tuple[int, socket.socket]] = {}
        self._awaited.register(listener, selectors.EVENT_READ)
        self._awaited.register(owner, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any] | None:
        """Return None when the owner is gone; in each program, return what was asked for."""
        while True:
            for key, _ in self._awaited.select():
                if key.fileobj is self._owner:
                    return None
                if key.fileobj is not self._listener:
                    self._tell_end(key.fd)
                elif request := self._fork():
                    return request

    def close(self) -> None:
        """Close what is the server's: a program has none of it."""
        self._awaited.close()
        self._listener.close()
        self._owner.close()
        for descriptor, (_, connection) in self._programs.items():
            os.close(descriptor)
            connection.close()

    def _fork(self) -> dict[str, Any] | None:
        connection, _ = self._listener.accept()
        with connection.makefile("rb") as lines:
            request: dict[str, Any] = json.loads(lines.readline())
        if (pid := os.fork()) == 0:
            connection.close()
            return request
        connection.sendall(b"%d\n" % pid)
        descriptor = os.pidfd_open(pid)
        self._programs[descriptor] = pid, connection
        self._awaited.register(descriptor, selectors.EVENT_READ)
        return None

    def _tell_end(self, descriptor: int) -> None:
        pid, connection = self._programs.pop(descriptor)
        self._awaited.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        with connection, suppress(OSError):  # its owner may not be there any more
            connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def become(request: Mapping[str, Any]) -> None:
    """Have what a process has that was started with these variables, these arguments and this output."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(request["output"], os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]
    if COVERAGE in os.environ:
        import_module("coverage").process_startup()


def main(listener: int, owner: int) -> None:
    """Load the program, serve, and run the program in each process that is forked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who types Ctrl-C means the owner, and the programs
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name != "app.__main__":
            import_module(module.name)
    gc.freeze()  # what is never collected stays in memory that processes share
    server = Server(socket.socket(fileno=listener), socket.socket(fileno=owner))
    request = server.serve()
    server.close()
    if request:
        become(request)
        runpy.run_module("app", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
