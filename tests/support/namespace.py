"""A Linux network namespace with its own loopback, host names and name server. Needs root and iproute2."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.tools import tool

CLONE_NEWNET: Final = 0x40000000
DNS_PORT: Final = 53
RESOLVER: Final = "nameserver 127.0.0.1\noptions timeout:10 attempts:2\n"
"""Each look-up waits 20 s for a name server that never answers."""


@dataclass(frozen=True)
class Namespace:
    name: str

    @property
    def prefix(self) -> list[str]:
        """Return what goes before a command that is to run there."""
        return ["ip", "netns", "exec", self.name]

    def listening(self) -> socket.socket:
        """Return a TCP socket that listens on its loopback; it may be served from outside."""
        return self._inside(_listening)

    def silent_name_server(self) -> socket.socket:
        """Return a UDP socket at the DNS port that takes every question and answers none."""
        return self._inside(_silent)

    def _inside(self, make: Callable[[], socket.socket]) -> socket.socket:
        """Make a socket in a thread that is in the namespace; a socket stays where it was made."""
        with ThreadPoolExecutor(max_workers=1, initializer=self._enter) as thread:
            return thread.submit(make).result()

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/run/netns", self.name).open("rb") as namespace:
            if libc.setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")


def _listening() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening


def _silent() -> socket.socket:
    silent = socket.socket(type=socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", DNS_PORT))
    return silent


@contextmanager
def namespace(name: str, hosts: str) -> Iterator[Namespace]:
    """Make one in which `hosts` is /etc/hosts and every other look-up hangs, and take it away in the end."""
    tool("ip")
    if os.geteuid() != 0:
        reason = "network namespaces need root"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    files = Path("/etc/netns", name)
    files.mkdir(parents=True)
    try:
        (files / "resolv.conf").write_text(RESOLVER)
        (files / "hosts").write_text(hosts)
        (files / "nsswitch.conf").write_text("hosts: files dns\n")
        _run("ip", "netns", "add", name)
        made = Namespace(name)
        _run(*made.prefix, "ip", "link", "set", "lo", "up")
        with made.silent_name_server():
            yield made
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        for path in files.iterdir():
            path.unlink()
        files.rmdir()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
