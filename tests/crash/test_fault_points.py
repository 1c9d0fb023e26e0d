"""A failure at every `await` of the service, found by code: a fresh process then delivers everything."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from itertools import count, product
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from app.store.keys import Topology
from tests.support.fault_points import MODULES, Case, How, When, is_done, path_of, points, quick
from tests.support.harness import environment, eventually, running, settings_from
from tests.support.receiver import Receiver
from tests.support.repository import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NOT_PASSED = {
    "store.preflight: asyncio.sleep": "only where a right is missing: tests/redis/test_preflight.py",
    "store.lease: asyncio.sleep": "only while all slots are taken, or Redis is away: test_ownership.py",
    "store.lease: retake": "only where the lease was lost: test_ownership.py",
    "store.lease: lease_doubted": "ends by its timeout, or where the lease was lost: test_ownership.py",
    "store.lease: taken = await self._take_slot": "likewise",
    "store.client: AsyncRetrying(": "only while Redis refuses or is away: test_lost_replies.py, test_outages.py",
    "store.client: asyncio.sleep(self.timings.operator_pause)": "where a person has to act: tests/redis/test_link.py",
    "store.client: connection_pool.disconnect": "only where the master changes: tests/network/test_failover.py",
    "store.client: asyncio.sleep(self.timings.master_look)": "likewise",
    "store.client: self._locate()": "likewise",
    "store.client: self._reconnect(": "likewise",
    "store.client: connection.disconnect": "likewise",
    "store.channel: self._link.persist": "nobody uses it",
    "store.channel: self.apply(": "only where somebody has written to the hash of operations: tests/redis",
    "store.channel: disconnect(": "only after a lost reply: test_lost_replies.py",
    "store.leftovers: length": "only where an endpoint is not configured any more: test_fanout.py",
    "store.leftovers: link.commands.type": "likewise",
    "lane.distribution: self._pause(": "only where Redis refuses, or lanes are full or shut: test_fanout.py",
    "lane.distribution: self._stopping.wait()": "likewise",
    "delivery.attempt: response.aclose()": "only where an answer is not read to its end: tests/unit/delivery",
    "store.queue: channel.apply(PUT_BACK": "only on a link that loses most replies: tests/redis/test_loops.py",
    "lane.sweeper: await self._put_back()": "likewise",
    "lane.sweeper: queue.put_back(": "likewise",
    "service: self.parts.notifier.aclose()": "only where notices are configured: test_notices.py",
    "lane.waiting_claim: stopping.wait()": "only after a refused claim: test_full_redis.py",
}
"""Lines that a forwarder passes only when something else is wrong, and who tests that."""

WORK = Counter(
    {b"plain": 2, b"twin": 3, b"poison": 1, b"flaky": 1, b"hopeless": 1, b"stray": 2, b"orphan": 2, b"deferred": 2}
)

STORM: Final = 2 * WORK.total()
"""Rejections enough that no never-attempted CDR is left, and a deferred one is the only probe."""

NOT_MET, FAILED = 0, 1
TRIES: Final = 5
"""Some points are passed only in some orders of events; each is struck in one of so many runs."""


class Nursery:
    """The process that forks a forwarder for each case."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def run(self, cases: list[Case]) -> dict[str, int]:
        """Carry out all cases at once; return the exit status of each, by its point."""
        assert self._process.stdin
        assert self._process.stdout
        for case in cases:
            self._process.stdin.write(json.dumps(asdict(case)).encode() + b"\n")
        await self._process.stdin.drain()
        answers = [json.loads(await self._process.stdout.readline()) for _ in cases]
        return {point: status for point, _, _, status in answers}


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.fault_points"), stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    yield Nursery(process)
    assert process.stdin
    process.stdin.close()
    await process.wait()


HERE: Final = "the receiver"
SCENARIOS: Final = {
    "plain": {},
    "storm": {"CDR_WEBHOOK_BREAKER_THRESHOLD": "3", "CDR_WEBHOOK_RATE_LIMIT": "1000"},
    "fanout": {"CDR_WEBHOOK_URL": "", "CDR_ENDPOINTS__A__URL": HERE, "CDR_ENDPOINTS__B__URL": HERE},
}
"""What differs: an endpoint that rejects all at first, or two of them."""

_passed: dict[str, set[str]] = {}
"""By scenario, where that was found out already: the points that a forwarder without any fault passes."""


class World:
    """One case's own keys and CDRs, on the Redis and the receiver that all share."""

    def __init__(self, integrator: str, redis: EmbeddedRedis, receiver: Receiver, client: Redis, scenario: str) -> None:
        self.integrator = integrator
        self.client = client
        self.receiver = receiver
        self.variables = environment(
            *(redis.url, receiver.url, integrator),
            lease="0.5",
            sweep_interval="0.2",
            webhook_timeout="1",
            webhook_connect_timeout="1",
            webhook_backoff_max="0.2",
        )
        self.copies = 2 if scenario == "fanout" else 1
        self.variables |= {
            name: receiver.url if value == HERE else value for name, value in SCENARIOS[scenario].items()
        }
        self.source = f"{integrator}-source"
        self.processing = f"{integrator}:processing:cdr"
        self.bodies = {body: f"{integrator} {body.decode()}".encode() for body in WORK}

    async def fill(self) -> None:
        places = {b"stray": self.processing, b"orphan": f"{self.processing}:7"}
        for body, copies in WORK.items():
            if body == b"deferred":
                members = {
                    f"cdr1 token-{one} 1 0 1 0 1 - 0 0\n".encode() + self.bodies[body]: 0 for one in range(copies)
                }
                await self.client.zadd(f"{self.integrator}:retry:cdr", members)
            else:
                await self.client.rpush(places.get(body, self.source), *[self.bodies[body]] * copies)

    async def lost(self) -> Counter[bytes]:
        """Return what a fresh process did not deliver either."""
        fresh = settings_from(self.variables)
        async with running(fresh, quick()):
            await eventually(lambda: is_done(self.client, fresh), deadline=60)
        dead = [keys.dead for keys in Topology(fresh.sources[0]).lanes.values()]
        letters = [letter for key in dead for letter in await self.client.lrange(key, 0, -1)]
        arrived = self.receiver.bodies + Counter(json.loads(letter)["cdr"].encode() for letter in letters)
        return Counter({self.bodies[body]: self.copies * copies for body, copies in WORK.items()}) - arrived


async def lost_in(worlds: list[World]) -> Counter[bytes]:
    """Return what fresh processes did not deliver either; few at once, so that none is starved."""
    lost: Counter[bytes] = Counter()
    for some in batched(worlds, 12):
        lost += sum(await asyncio.gather(*(one.lost() for one in some)), Counter())
    return lost


def batched(worlds: list[World], size: int) -> Iterator[list[World]]:
    for start in range(0, len(worlds), size):
        yield worlds[start : start + size]


@pytest.fixture
def judged(receiver: Receiver) -> Receiver:
    """A receiver that rejects, refuses for a while, and takes."""
    refusals: Counter[bytes] = Counter()
    storms: Counter[bytes] = Counter()

    def judge(body: bytes) -> int:
        world, kind = body.split()
        storms[world] += world.endswith(b"storm")
        if 0 < storms[world] <= STORM:
            return 400
        if kind == b"poison":
            return 400
        refusals[body] += 1
        return 503 if refusals[body] <= {b"flaky": 1, b"hopeless": 3}.get(kind, 0) else 204

    receiver.judge = judge
    return receiver


def source_line(point: str) -> str:
    module, line = point.split(":")
    return path_of(module).read_text().splitlines()[int(line) - 1]


def is_passed(point: str) -> bool:
    line = f"{point.split(':', maxsplit=1)[0]}: {source_line(point)}"
    return not any(
        line.startswith(module) and part in line for module, part in (name.split(maxsplit=1) for name in NOT_PASSED)
    )


async def passed_by(scenario: str, nursery: Nursery, world: Callable[[str], World], directory: Path) -> set[str]:
    """Run a forwarder without a fault; return the points that it passes, and those of the plain scenario do not."""
    if scenario not in _passed:
        before = set() if scenario == "plain" else await passed_by("plain", nursery, world, directory)
        calm, log = world(scenario), directory / scenario
        await calm.fill()
        assert await nursery.run([Case(calm.variables | {"CDR_TEST_LOG": str(log)})]) == {"": 0}
        _passed[scenario] = set(json.loads(log.read_text().splitlines()[-1])) - before
    return _passed[scenario]


@pytest.fixture
def world(redis_server: EmbeddedRedis, judged: Receiver, client: Redis, integrator: str) -> Callable[[str], World]:
    """Make a world of its own for a case in a scenario."""
    numbers = count()
    return lambda scenario: World(f"{integrator}-{next(numbers)}-{scenario}", redis_server, judged, client, scenario)


@pytest.mark.parametrize(("when", "how"), [*product(("before", "after"), ("raise", "cancel", "kill"))])
@pytest.mark.parametrize(
    ("scenario", "module"),
    [*(("plain", module) for module in MODULES if module != "lane.distribution"), ("storm", ""), ("fanout", "")],
)
async def test_nothing_is_lost_by_a_fault_at_any_await(
    scenario: str,
    module: str,
    when: When,
    how: How,
    nursery: Nursery,
    world: Callable[[str], World],
    tmp_path: Path,
) -> None:
    """The forwarder fails, or is killed, at each point in turn; a fresh one delivers what it left."""
    passed = await passed_by(scenario, nursery, world, tmp_path)
    struck = [
        point
        for point in points()
        if point in passed and point.startswith(f"{module}:" if module else "") and is_passed(point)
    ]
    assert struck
    for _ in range(TRIES):
        worlds = [world(scenario) for _ in struck]
        for one in worlds:
            await one.fill()
        logs = {"CDR_TEST_LOG": str(tmp_path / "log")}
        cases = [Case(one.variables | logs, point, when, how) for one, point in zip(worlds, struck, strict=True)]
        statuses = await nursery.run(cases)
        assert set(statuses.values()) <= {NOT_MET, -signal.SIGKILL if how == "kill" else FAILED}
        assert await lost_in(worlds) == Counter()
        struck = [point for point in struck if statuses[point] == NOT_MET]
    assert struck == []


async def test_the_scenarios_pass_every_point(nursery: Nursery, world: Callable[[str], World], tmp_path: Path) -> None:
    """An `await` that no fault reaches is named in the list above, with who tests it."""
    passed: set[str] = set()
    for scenario in SCENARIOS:
        passed |= await passed_by(scenario, nursery, world, tmp_path)
    missed = [
        f"{point}  {source_line(point).strip()}" for point in points() if is_passed(point) and point not in passed
    ]
    assert missed == [], missed
