"""One POST through the transport, beside other client libraries."""

import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme

from tests.benchmarks.contenders import launch, process_module
from tests.benchmarks.report import Report, Row
from tests.benchmarks.scale import Scale
from tests.benchmarks.targets import ATTEMPT_RATIO

LIBRARIES = ("ours", "aiohttp", "pyreqwest", "httpx")
CONCURRENCIES = (1, 16, 64, 256)
COMPARED = 64
SLOW = "httpx"
"""It takes a hundred times as long at high concurrency: a tenth of the attempts will do."""


def run(scale: Scale) -> list[Report]:
    report = Report("One attempt: CPU µs per POST of 1.1 kB, answered 204 at once; medians")
    libraries = [library for library in LIBRARIES if find_spec(library) or library == "ours"]
    number, rounds = scale.of(20_000, 4_000), scale.of(3, 1)
    with _endpoint() as endpoint:
        for encrypted in (False, True):
            for concurrency in CONCURRENCIES:
                costs = {one: endpoint.cost(one, concurrency, number, rounds, encrypted=encrypted) for one in libraries}
                report.row(_row(costs, concurrency, encrypted=encrypted))
                if concurrency == COMPARED and not encrypted:
                    report.check(ATTEMPT_RATIO, costs["ours"] / costs["aiohttp"])
    return [report]


def _row(costs: dict[str, float], concurrency: int, *, encrypted: bool) -> Row:
    cells: Row = {"concurrency": concurrency, "": "TLS" if encrypted else "plain"}
    return cells | costs | {"ours / aiohttp": costs["ours"] / costs["aiohttp"]}


@dataclass
class _Endpoint:
    ports: tuple[int, int]
    ca_file: Path

    def cost(self, library: str, concurrency: int, number: int, rounds: int, *, encrypted: bool) -> float:
        """Return the CPU µs of one POST."""
        url = f"{'https' if encrypted else 'http'}://127.0.0.1:{self.ports[encrypted]}/hook"
        number = number // 10 if library == SLOW else number
        command = process_module("posts", library, url, self.ca_file, concurrency, number)
        return statistics.median(_printed(command) * 1e6 for _ in range(rounds))


def _printed(command: list[str]) -> float:
    with launch(command, {}, subprocess.PIPE) as process:
        printed, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command} failed")
    return float(printed)


@contextmanager
def _endpoint() -> Iterator[_Endpoint]:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    with TemporaryDirectory(prefix="cdr-benchmark-") as name:
        files = [Path(name) / part for part in ("ca.pem", "server.pem", "server.key")]
        authority.cert_pem.write_to_path(str(files[0]))
        certificate.cert_chain_pems[0].write_to_path(str(files[1]))
        certificate.private_key_pem.write_to_path(str(files[2]))
        with launch(process_module("answerer", files[1], files[2]), {}, subprocess.PIPE) as process:
            assert process.stdout
            plain, encrypted = process.stdout.readline().split()
            try:
                yield _Endpoint((int(plain), int(encrypted)), files[0])
            finally:
                process.terminate()  # else a failed measurement would wait for it for ever
