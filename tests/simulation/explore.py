"""Runs many seeds on several cores, and says what was found and how often each fault mattered."""

import gc
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from typing import Any, Final

from tests.simulation.plan import Plan
from tests.simulation.scenarios import plan_of
from tests.simulation.trace import Trace
from tests.simulation.world import Result, run

CHUNK: Final = 4
CHUNKS: Final = 50
"""After so many, a worker makes room for a fresh one."""

HUNG: Final = 120
"""Seconds of CPU after which a run hangs: some callback never returns, or virtual time stands still."""

MOST_SHOWN: Final = 8


class HungError(BaseException):
    """No law: an `except Exception` on the way must not take it for one of its own."""


@dataclass
class Summary:
    schedules: int = 0
    steps: int = 0
    requests: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)
    mattered: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.schedules += 1
        self.steps += result.steps
        self.requests += result.requests
        self.virtual_seconds += result.seconds
        self.happened.update(result.happened)
        self.mattered.update(result.mattered)
        if result.law:
            self.findings.append((result.plan.seed, result.law, result.broken))

    def merge(self, other: "Summary") -> None:
        self.schedules += other.schedules
        self.steps += other.steps
        self.requests += other.requests
        self.virtual_seconds += other.virtual_seconds
        self.cpu_seconds += other.cpu_seconds
        self.happened.update(other.happened)
        self.mattered.update(other.mattered)
        self.findings += other.findings

    def lines(self) -> Iterator[str]:
        rate = self.schedules / max(self.cpu_seconds, 1e-9) * 3600
        yield (
            f"{self.schedules} schedules, {self.steps} steps, {self.requests} requests, "
            f"{self.virtual_seconds / 3600:.1f} virtual hours, {self.cpu_seconds:.0f} s of CPU: "
            f"{rate:.0f} schedules an hour and core"
        )
        yield "fault            happened  mattered"
        for name in sorted(self.happened):
            yield f"{name:<16} {self.happened[name]:>8} {self.mattered[name]:>9}"
        if not self.findings:
            yield "no law was broken"
        for law in sorted({law for _, law, _ in self.findings}):
            those = sorted(finding for finding in self.findings if finding[1] == law)
            yield f"{law}: {len(those)} schedules"
            for seed, _, broken in those[:MOST_SHOWN]:
                yield f"  python -m tests.simulation --seed {seed}   # {broken}"


def run_guarded(plan: Plan) -> Result:
    """Run a plan; one that never ends breaks the law, too."""

    def hang(*_: Any) -> None:
        raise HungError

    before = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, HUNG)  # not the clock on the wall, which runs on while others have the CPU
    try:
        return run(plan)
    except HungError:
        return Result(plan, "hung", f"it did not end within {HUNG} s of CPU", 0, 0.0, "", Trace(), Counter(), Counter())
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run_seeds(seeds: Iterable[int], theme: str = "") -> Summary:
    summary = Summary()
    began = time.process_time()
    gc.freeze()  # what is imported is there for good: only what a run has made is looked through after it
    for seed in seeds:
        summary.add(run_guarded(plan_of(seed, theme)))
    summary.cpu_seconds = time.process_time() - began
    return summary


def explore(first: int, theme: str, seconds: float, jobs: int) -> Summary:
    """Run seeds from `first` on until the time is over."""
    deadline = time.monotonic() + seconds
    chunks = (range(begin, begin + CHUNK) for begin in count(first, CHUNK))
    total = Summary()
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=CHUNKS) as pool:
        running = {pool.submit(run_seeds, next(chunks), theme) for _ in range(jobs)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                total.merge(summary := future.result())
                for seed, _, broken in summary.findings:
                    print(f"seed {seed}: {broken}", flush=True)
                if time.monotonic() < deadline:
                    running.add(pool.submit(run_seeds, next(chunks), theme))
    return total
