"""Puts a fault at any `await` of the service: found by its source, carried out in a process of its own.

`python -m tests.support.fault_points` reads one case a line (JSON) and forks a forwarder for each, so that nothing has
to be imported again. A forwarder that meets no fault stops when all is delivered, and tells which points it has passed.
"""

import ast
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeVar

from redis.asyncio import Redis

from tests.support.repository import APP

T = TypeVar("T")

MODULES = (
    *("service", "store.preflight", "store.lease", "store.client", "store.channel", "store.queue", "store.leftovers"),
    *("lane.adopter", "lane.incoming", "lane.claimer", "lane.distribution", "lane.inbox", "lane.lane_loops"),
    *("lane.prober", "lane.sweeper", "lane.waiting_claim", "lane.worker", "delivery.attempt"),
)

When = Literal["before", "after"]
How = Literal["raise", "cancel", "kill"]
"""`cancel`: the whole forwarder is cancelled there, as by the end of its grace."""


class FaultError(Exception):
    """None that the service knows."""


@dataclass
class Case:
    """Where the fault is (`lane.worker:48`, the line in its module), and on whose behalf."""

    variables: dict[str, str]
    point: str = ""
    when: When = "before"
    how: How = "raise"
    passed: list[str] = field(default_factory=list)


current: Case
forwarder: asyncio.Task[int] | None = None


def points() -> list[str]:
    """Return every `await` of the service as module:line."""
    return [
        f"{module}:{node.lineno}"
        for module in MODULES
        for node in ast.walk(ast.parse(path_of(module).read_text()))
        if isinstance(node, ast.Await)
    ]


def path_of(module: str) -> Path:
    return APP.joinpath(*module.split(".")).with_suffix(".py")


async def passing(point: str, awaitable: Awaitable[T]) -> T:
    """Stand in for one `await`."""
    if point not in current.passed:
        current.passed.append(point)
    try:
        strike(point, "before")
        reply = await awaitable
    finally:
        if asyncio.iscoroutine(awaitable):
            awaitable.close()
    strike(point, "after")
    return reply


def strike(point: str, when: When) -> None:
    if (point, when) != (current.point, current.when):
        return
    if current.how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if current.how == "cancel" and forwarder:
        current.point = ""  # once
        forwarder.cancel()
        return
    raise FaultError(f"{when} {point}")


class Instrument(ast.NodeTransformer):
    def __init__(self, module: str) -> None:
        self.module = module

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        point = ast.Constant(f"{self.module}:{node.lineno}")
        node.value = ast.Call(ast.Name("__passing__", ast.Load()), [point, node.value], [])
        return ast.fix_missing_locations(node)


class InstrumentingLoader(SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        tree = Instrument(fullname.removeprefix("app.")).visit(ast.parse(self.get_data(path), path))
        return compile(tree, path, "exec", dont_inherit=True)

    def exec_module(self, module: Any) -> None:
        module.__passing__ = passing
        super().exec_module(module)


class InstrumentingFinder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.origin and fullname.removeprefix("app.") in MODULES and fullname.startswith("app."):
            loader: Loader = InstrumentingLoader(fullname, spec.origin)
            spec.loader = loader
        return spec


def keys_of(settings: Any) -> list[str]:
    """Return every key that a CDR of these settings may be in on its way, but for high slots."""
    from app.store.keys import Topology  # noqa: PLC0415 - after the instruments are in place

    topology = Topology(settings.sources[0])
    lanes = [topology.short, *topology.lanes.values()]
    return [key for lane in lanes for key in (*lane.waiting, *(lane.slot(number).processing for number in range(1, 8)))]


async def is_done(client: Redis, settings: Any, *, feeds: bool = True) -> bool:
    """Tell whether nothing is left. What is rejected is a dead letter only if others are accepted: have some."""
    if not await client.exists(*keys_of(settings)):
        return True
    if feeds and not await client.exists(settings.source_key):
        await client.rpush(settings.source_key, f"{settings.integrator} another")
    return False


def quick() -> Any:
    """Return the pauses that all forwarders of these tests have."""
    from app.config.timings import Timings  # noqa: PLC0415 - likewise

    return Timings(
        claim_wait=0.2, between_rejections=0.3, visibility=0.3, first_probe=0.05, longest_probe=0.2, idle_pause=0.1
    )


async def forward_all(case: Case) -> None:
    """Run a forwarder until everything that it was given is gone, then stop it."""
    global forwarder  # noqa: PLW0603 - one a process
    from app.config.environment import load_settings  # noqa: PLC0415
    from app.service import Service  # noqa: PLC0415 - after the instruments are in place

    settings = load_settings(case.variables, dotenv=None)
    service = Service(settings, quick())
    async with (
        Redis.from_url(case.variables["CDR_REDIS_URL"], protocol=2) as client,
        asyncio.TaskGroup() as tasks,
    ):
        await client.script_flush()  # so that scripts are loaded, which is a way of its own
        forwarder = work = tasks.create_task(service.run())
        looks = count(1)
        # Fed seldom: a breaker that is open then has to probe with what has failed.
        while not work.done() and not await is_done(client, settings, feeds=next(looks) % 25 == 0):
            await asyncio.wait([work], timeout=0.02)
        if not work.done():
            service.stop()
    if work.cancelled():
        raise asyncio.CancelledError


def carry_out(case: Case) -> int:
    """Return the status of a forked forwarder: 0 if it met no fault, 1 after one."""
    from app.telemetry.log import configure  # noqa: PLC0415

    configure("error", "json")
    with suppress(BaseException), Path(case.variables["CDR_TEST_LOG"]).open("a") as log:
        os.dup2(log.fileno(), 2)
        try:
            del case.variables["CDR_TEST_LOG"]
            asyncio.run(forward_all(case))
        finally:
            log.write(json.dumps(case.passed) + "\n")
        # Cancelled behind its last await, it ends as if it had not been.
        return int(case.how == "cancel" and not case.point)
    return 1


def serve() -> None:
    """Fork twice a case: one process runs it, the other waits for it and prints how it ended."""
    global current  # noqa: PLW0603 - one a process
    import app.cli.run  # noqa: F401, PLC0415

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork():
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        case = current = Case(**json.loads(line))
        child = os.fork()
        if not child:
            signal.alarm(30)
            os._exit(carry_out(current))
        _, status = os.waitpid(child, 0)
        answer = asdict(case) | {"status": os.waitstatus_to_exitcode(status)}
        os.write(1, json.dumps([case.point, case.when, case.how, answer["status"]]).encode() + b"\n")
        os._exit(0)


if __name__ == "__main__":
    sys.meta_path.insert(0, InstrumentingFinder())
    sys.modules["tests.support.fault_points"] = sys.modules["__main__"]
    serve()
