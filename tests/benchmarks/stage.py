"""Where a benchmark takes place: a Redis, an endpoint that answers at once, a backlog, and a contender."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from redis import Redis

from app.demo.embedded import EmbeddedRedis
from app.demo.server_binary import find_server
from tests.benchmarks.cdrs import USUAL, cdrs
from tests.benchmarks.contenders import Contender, Receiver, module, process_module, until
from tests.benchmarks.namespaces import Host, Network

INTEGRATOR = "bench"
SOURCE = "bench-source"
PROCESSING = "bench:processing:cdr"
BACKLOG = "bench-backlog"
NETWORK_PORT = 6379

FILL_PAGE = 1000
WARM_UP = 200
WARM_UP_DEADLINE = 30.0


@dataclass(frozen=True)
class Run:
    """What forwarding a backlog took. `seconds` are of a clock on the wall, `cpu` of the contenders' processes."""

    cdrs: int
    began: float
    seconds: float
    cpu: float
    peak_mib: float

    @property
    def rate(self) -> float:
        return self.cdrs / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu / max(1, self.cdrs) * 1e6


def median(runs: Sequence[Run]) -> Run:
    """Return the run in the middle, by rate."""
    rate = statistics.median_low(run.rate for run in runs)
    return next(run for run in runs if run.rate == rate)


@dataclass
class Stage:
    directory: Path
    client: Redis
    redis_url: str
    receiver: Receiver
    prefix: Sequence[str] = ()
    log_number: int = field(default=0, init=False)

    def fill(self, key: str, bodies: Iterable[bytes]) -> int:
        """Append to a list; return its length."""
        remaining = iter(bodies)
        while page := list(islice(remaining, FILL_PAGE)):
            self.client.rpush(key, *page)
        return self.client.llen(key)

    def push(self, body: bytes) -> None:
        self.client.rpush(SOURCE, body)

    def variables(self, concurrency: int, **others: str) -> dict[str, str]:
        """Return the configuration of a forwarder; names of `others` are without CDR_, in lower case."""
        given = {
            "redis_url": self.redis_url,
            "webhook_url": self.receiver.url,
            "webhook_concurrency": str(concurrency),
            "integrator": INTEGRATOR,
            "source_key": SOURCE,
            "log_format": "json",
            "ops_port": "0",
        }
        return {f"CDR_{name.upper()}": value for name, value in (given | others).items()}

    def forwarder(self, concurrency: int, **variables: str) -> Contender:
        return self._forwarder(module("app"), concurrency, variables)

    def sampled_forwarder(self, concurrency: int, result: Path) -> Contender:
        return self._forwarder(process_module("sampled", result), concurrency, {})

    def straightforward(self, tasks: int) -> Contender:
        return self._other("straightforward", tasks)

    def connect(self, copies: int) -> Contender:
        return self._other("connect", copies)

    def _other(self, name: str, at_once: int) -> Contender:
        where = (self.redis_url, self.receiver.url, SOURCE, PROCESSING, at_once)
        return Contender([*self.prefix, *process_module(name, *where)], {}, b"ready", self._log())

    def bare(self) -> Contender:
        where = (self.redis_url, self.receiver.url, SOURCE, PROCESSING)
        return Contender([*self.prefix, *process_module("bare", *where)], {}, b"ready", self._log())

    def drain(self, contenders: Sequence[Contender], bodies: Iterable[bytes], most_seconds: float = 600) -> Run:
        """Let them forward a backlog that appears at once, for so long at most."""
        total = self.fill(BACKLOG, bodies)
        return self.forward(contenders, total, lambda: self.client.rename(BACKLOG, SOURCE), most_seconds)

    def forward(
        self, contenders: Sequence[Contender], total: int, begin: Callable[[], object], most_seconds: float = 600
    ) -> Run:
        """Let them forward what `begin` puts before them."""
        cpu_before = sum(one.cpu_seconds() for one in contenders)
        started = time.monotonic()
        begin()
        lists = [SOURCE, PROCESSING, *(f"{PROCESSING}:{slot}" for slot in range(2, len(contenders) + 1))]
        self.settle(lists, most_seconds)
        seconds = time.monotonic() - started
        left = sum(self.client.llen(key) for key in lists)
        cpu = sum(one.cpu_seconds() for one in contenders) - cpu_before
        return Run(total - left, started, seconds, cpu, max(one.peak_mib() for one in contenders))

    def settle(self, lists: Sequence[str] = (SOURCE, PROCESSING), most_seconds: float = 600) -> None:
        """Wait until nothing is pending or in processing."""
        until(lambda: not self.client.exists(*lists), most_seconds)

    def warm_up(self, *contenders: Contender) -> None:
        """Open the connections and compile the scripts, outside of what is measured."""
        number = WARM_UP * len(contenders)
        done = self.drain(contenders, cdrs(number, USUAL + 1), WARM_UP_DEADLINE)
        if done.cdrs < number:
            raise RuntimeError(f"nothing moves:\n{contenders[0].log.read_text(errors='replace')[:2000]}")

    def _forwarder(self, command: Sequence[str], concurrency: int, others: dict[str, str]) -> Contender:
        variables = self.variables(concurrency, **others)
        return Contender([*self.prefix, *command], variables, b'"slot.taken"', self._log())

    def _log(self) -> Path:
        self.log_number += 1
        return self.directory / f"contender-{self.log_number}.log"


@contextmanager
def stage() -> Iterator[Stage]:
    with (
        _directory() as directory,
        EmbeddedRedis(directory, appendonly=False) as redis,
        Receiver() as receiver,
        Redis.from_url(redis.url, protocol=2) as client,
    ):
        yield Stage(directory, client, redis.url, receiver)


@contextmanager
def stage_in(net: Network) -> Iterator[Stage]:
    """Redis on the one host, endpoint and contenders on the other; what is ours reaches Redis without the network."""
    with (
        _directory() as directory,
        _redis_on(net.redis, directory) as redis,
        Receiver(net.forwarder.prefix) as receiver,
        Redis.from_url(redis.url, protocol=2) as client,
    ):
        url = f"redis://{net.redis.address}:{NETWORK_PORT}/0"
        yield Stage(directory, client, url, receiver, net.forwarder.prefix)


@contextmanager
def _directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="cdr-benchmark-") as name:
        yield Path(name)


def _redis_on(host: Host, directory: Path) -> EmbeddedRedis:
    """Return a server that listens on a socket for us, and on the network for contenders."""
    where = f"--bind {host.address} --port {NETWORK_PORT} --protected-mode no"
    server = directory / "redis-server"
    server.write_text(f'#!/bin/sh\nexec {" ".join(host.prefix)} {find_server()} "$@" {where}\n', encoding="utf-8")
    server.chmod(0o755)
    return EmbeddedRedis(directory, server=server, unix_socket=directory / "redis.sock", appendonly=False)
