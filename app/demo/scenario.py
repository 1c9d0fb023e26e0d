"""Play the scenario of the demo: a failing endpoint, a killed forwarder, and no CDR lost."""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from app.demo.calls import Enigma
from app.demo.child import Forwarder
from app.demo.count import Count, Ledger, percentile
from app.demo.lists import KEYS, Lists
from app.demo.sample_endpoint import SampleEndpoint
from app.demo.view import LiveView, PlainView, Scene
from app.errors import ForwarderError

TICK = 0.1
START_DEADLINE = 20.0
RECOVERY_DEADLINE = 30.0
GRACE = 5
SLOW_ANSWER = 0.4
CAUGHT = 4
"""How many CDRs are on the wire, at least, when the forwarder is killed."""

RECENT = 200


@dataclass(frozen=True)
class Pace:
    """Says how fast the scenario is: `rate` in CDRs per second, all else in seconds."""

    rate: float
    calm: float
    outage: float
    down: float
    lease: int
    sweep: int


UNHURRIED = Pace(rate=20, calm=9, outage=12, down=6, lease=3, sweep=2)
QUICK = Pace(rate=60, calm=0.7, outage=1.2, down=0.5, lease=2, sweep=1)


class StopAskedError(Exception):
    """Raised when Ctrl-C or SIGTERM asks for a stop."""


class Scenario:
    """Plays it on a Redis, an endpoint and a forwarder, and shows what happens."""

    def __init__(
        self, pace: Pace, view: LiveView | PlainView, redis: Redis, endpoint: SampleEndpoint, ledger: Ledger
    ) -> None:
        self.pace = pace
        self.view = view
        self.lists = Lists(redis)
        self.endpoint = endpoint
        self.ledger = ledger
        self.enigma = Enigma(redis, KEYS.pending, pace.rate, self.ledger)
        self.forwarder: Forwarder
        self.asked_to_stop: signal.Signals | None = None

    def ask_to_stop(self, signum: signal.Signals) -> None:
        """Remember it; a second time, do not wait for the forwarder's attempts on the wire."""
        if self.asked_to_stop:
            self.forwarder.force()
        self.asked_to_stop = signum

    async def play(self, settings: dict[str, str], directory: Path) -> None:
        with self.view:
            async with asyncio.TaskGroup() as tasks:
                self.forwarder = Forwarder(settings, directory, self.view.log, tasks)
                with suppress(StopAskedError):
                    try:
                        await self._tell(tasks)
                    finally:
                        self.enigma.hang_up()
                        await self.forwarder.stop(GRACE + 2)
            self.view.show(await self._look())

    async def _tell(self, tasks: asyncio.TaskGroup) -> None:
        self.view.phase("The forwarder starts")
        await self.forwarder.start()
        if not await self._watch(START_DEADLINE, until=lambda scene: scene.lists.owners > 0):
            raise ForwarderError(f"The forwarder did not come up within {START_DEADLINE:.0f} s.")
        self.view.phase("Calls end, and the endpoint takes their CDRs")
        tasks.create_task(self.enigma.call())
        await self._watch(self.pace.calm)
        await self._fail_endpoint()
        await self._kill_forwarder()
        await self._watch(self.pace.calm)
        self.view.phase("No more calls; what is left arrives")
        self.enigma.hang_up()
        await self._until_all_arrived()

    async def _fail_endpoint(self) -> None:
        self.view.phase("The endpoint answers 503: CDRs stay in Redis")
        self.endpoint.status = 503
        await self._watch(self.pace.outage)
        self.view.phase("The endpoint is well again")
        self.endpoint.status = 204
        await self._until_recovered()

    async def _kill_forwarder(self) -> None:
        self.view.phase("The endpoint is slow, so that some CDRs are on the wire")
        self.endpoint.delay = SLOW_ANSWER
        await self._watch(START_DEADLINE, until=lambda scene: min(scene.lists.processing, scene.in_flight) >= CAUGHT)
        await self.forwarder.kill()
        in_processing = (await self.lists.lengths()).processing
        self.view.phase(f"The forwarder was killed with SIGKILL: {in_processing} CDRs were in processing")
        await self._watch(self.pace.down)
        self.view.phase("A new forwarder starts, and finds them")
        self.endpoint.delay = 0
        await self.forwarder.start()
        await self._until_recovered()

    async def _until_recovered(self) -> None:
        if await self._until_all_arrived():
            self.view.phase("Recovered: every CDR has arrived, and nothing waits in Redis")

    async def _until_all_arrived(self) -> bool:
        due = set(self.ledger.pushed)
        return await self._watch(
            RECOVERY_DEADLINE, until=lambda scene: scene.is_empty and due <= self.ledger.taken.keys()
        )

    # The only place where the scenario waits, and so the only one where a signal stops it.
    async def _watch(self, seconds: float, until: Callable[[Scene], bool] = lambda _: False) -> bool:
        """Show what happens for so long, or until it is so; return whether it is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.asked_to_stop:
                raise StopAskedError
            scene = await self._look()
            self.view.show(scene)
            if until(scene):
                return True
            await asyncio.sleep(TICK)
        return False

    async def _look(self) -> Scene:
        ledger, recent = self.ledger, self.ledger.latencies[-RECENT:]
        return Scene(
            lists=await self.lists.lengths(),
            in_flight=self.endpoint.open,
            pushed=len(ledger.pushed),
            delivered=ledger.delivered,
            duplicates=ledger.duplicates,
            refused=ledger.refused,
            retried=ledger.retried,
            p50=percentile(recent, 0.5),
            p99=percentile(recent, 0.99),
        )

    async def count(self) -> Count:
        return self.ledger.count(waiting=await self.lists.waiting(), dead=await self.lists.dead())
