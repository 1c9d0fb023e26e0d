"""A network of two hosts on this machine, that loses packets: Linux network namespaces. Needs root."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.errors import CannotRunError

PREFIX = "cdrbench"
REDIS_ADDRESS = "10.213.7.1"
FORWARDER_ADDRESS = "10.213.7.2"


@dataclass(frozen=True)
class Host:
    namespace: str
    device: str
    address: str

    @property
    def prefix(self) -> list[str]:
        """What goes before a command that is to run there."""
        return ["ip", "netns", "exec", self.namespace]

    def loses(self, percent: int) -> None:
        """Lose so many of the packets that come in from the other host."""
        self.run("iptables", "-F", "INPUT")
        if percent:
            chance = ("-m", "statistic", "--mode", "random", "--probability", str(percent / 100))
            self.run("iptables", "-A", "INPUT", "-i", self.device, *chance, "-j", "DROP")

    def run(self, *command: str) -> None:
        _run([*self.prefix, *command])


@dataclass(frozen=True)
class Network:
    redis: Host
    forwarder: Host

    def heal(self) -> None:
        self.redis.loses(0)
        self.forwarder.loses(0)


@contextmanager
def network() -> Iterator[Network]:
    """Make it, and take it away whatever happens. CannotRunError without the rights or the tools."""
    _remove_left_over()
    redis = Host(f"{PREFIX}-{os.getpid()}-r", f"cdr{os.getpid()}r", REDIS_ADDRESS)
    forwarder = Host(f"{PREFIX}-{os.getpid()}-f", f"cdr{os.getpid()}f", FORWARDER_ADDRESS)
    try:
        _connect(redis, forwarder)
        made = Network(redis, forwarder)
        made.heal()
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise CannotRunError(f"network namespaces need root, ip and iptables: {said.decode().strip()}") from error
    else:
        yield made
    finally:
        for host in (redis, forwarder):
            _remove(host.namespace)


def _connect(one: Host, other: Host) -> None:
    for host in (one, other):
        _run(["ip", "netns", "add", host.namespace])
        host.run("ip", "link", "set", "lo", "up")
    peer = ("peer", "name", other.device, "netns", other.namespace)
    one.run("ip", "link", "add", one.device, "type", "veth", *peer)
    for host in (one, other):
        host.run("ip", "address", "add", f"{host.address}/24", "dev", host.device)
        host.run("ip", "link", "set", host.device, "up")


def _remove_left_over() -> None:
    """Remove what a benchmark that was killed has left; those of live ones stay."""
    for path in Path("/run/netns").glob(f"{PREFIX}-*"):
        if not Path("/proc", path.name.split("-")[1]).exists():
            _remove(path.name)


def _remove(namespace: str) -> None:
    if Path("/run/netns", namespace).exists():
        subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
