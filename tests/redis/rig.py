"""One process's part of a store on a real Redis: its lease, its queue, and what Redis holds."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import httpx
from redis.asyncio import Redis

from app.config.settings import Settings
from app.config.timings import Timings
from app.delivery.attempt import Attempt
from app.delivery.batch_size import BatchSize
from app.delivery.breaker import Breaker
from app.delivery.certificate import Certificate
from app.delivery.gate import Gate
from app.delivery.outage import Outage, Refusals
from app.errors import ForwarderError
from app.lane.lane_loops import Endpoint, LaneLoops, Shared
from app.store.channel import Channel, Word
from app.store.client import Link
from app.store.clock import RedisClock
from app.store.exchange import Exchanged, Settlement, Wanted
from app.store.keys import LaneKeys, Slot, Topology
from app.store.lease import Lease
from app.store.queue import Queue
from app.store.retry_set import Tokens
from app.telemetry.metrics import LaneMetrics
from tests.support.harness import environment, settings_from

MIB = 1024 * 1024
NOWHERE = "http://127.0.0.1:9/"
BRISK = Timings(claim_wait=0.1, idle_pause=0.02, operator_pause=0.05, full_pause=0.01)


async def acl(client: Redis, *words: str) -> None:
    """Change what a user of Redis may do."""
    send: Any = client.execute_command
    await send("ACL", *words)


class Recording(Channel):
    """A channel that remembers its commands, so that one can arrive again, late."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, link.timings.reply_patience)
        self.sent: list[tuple[Word, ...]] = []

    async def ask(self, *words: Word, weight: int = 0) -> Any:
        self.sent.append(words)
        return await super().ask(*words, weight=weight)


class Forgetful(Channel):
    """A channel on which the reply to the first command is lost, after Redis has carried it out."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, link.timings.reply_patience)
        self.lost = 0

    async def ask(self, *words: Word, weight: int = 0) -> Any:
        reply = await super().ask(*words, weight=weight)
        self.lost += 1
        if self.lost == 1:
            raise ConnectionError("the reply was lost")
        return reply


class Answers:
    """An endpoint behind a transport: answers what `statuses` says of a body, else `status`."""

    def __init__(self, status: int = 204) -> None:
        self.status = status
        self.statuses: dict[bytes, int] = {}
        self.bodies: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        self.bodies.append(body)
        await self.open.wait()
        return httpx.Response(self.statuses.get(body, self.status))


class Rig:
    """`variables`: see `tests.support.harness.environment`; `endpoints`: names, for a configuration that fans out."""

    def __init__(
        self,
        url: str,
        integrator: str,
        timings: Timings = BRISK,
        endpoints: Sequence[str] = (),
        **variables: str,
    ) -> None:
        self.settings = _settings(url, integrator, endpoints, variables)
        self.timings = timings
        self.topology = Topology(self.settings.sources[0])
        self.link = Link(self.settings.sources[0], timings=timings)
        self.process_id = f"{integrator}-{id(self):x}"
        self.lease = Lease(self.link, self.process_id, self.settings.sources[0], self.settings.lease)
        self.clock, self.tokens = RedisClock(), Tokens(self.process_id)
        self.stopping = asyncio.Event()
        self.redis: Redis = Redis.from_url(url, protocol=2)
        self.keys = self.topology.short
        self._channel: Channel | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.lease.take()
        except ForwarderError:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ForwarderError):
            await self.lease.release()
        await self.link.aclose()
        await self.redis.aclose()

    @property
    def slot(self) -> Slot:
        assert self.lease.slot
        return self.lease.slot

    @property
    def shared(self) -> Shared:
        return Shared(self.settings, self.link, self.lease, self.clock, self.tokens, self.timings, self.stopping)

    def queue(self, keys: LaneKeys | None = None, oldest: str = "head") -> Queue:
        return self.shared.queue(keys or self.keys, self.slot.number, oldest)

    def recording(self) -> Recording:
        return Recording(self.link)

    def forgetful(self) -> Forgetful:
        return Forgetful(self.link)

    async def exchange(
        self,
        *settlements: Settlement,
        new: int = 0,
        deferred: int = 0,
        most_bytes: int = MIB,
        early: str | None = None,
        visibility: float = 30.0,
        oldest: str = "head",
        channel: Channel | None = None,
    ) -> Exchanged:
        """Settle and claim; a reply is never lost here."""
        queue = self.queue(oldest=oldest)
        self._channel = self._channel or queue.channel()
        wanted = Wanted(new, deferred, most_bytes, early)
        done = await queue.exchange(channel or self._channel, settlements, wanted, visibility)
        assert done.answered
        return done

    async def elements(self, key: str) -> list[bytes]:
        elements: Any = await self.redis.lrange(key, 0, -1)
        return list(elements)

    async def members(self, key: str) -> list[bytes]:
        """Return the members of a sorted set, that with the lowest score first."""
        members: Any = await self.redis.zrange(key, 0, -1)
        return list(members)

    async def pending(self) -> list[bytes]:
        return await self.elements(self.keys.pending)

    async def processing(self) -> list[bytes]:
        return await self.elements(self.slot.processing)

    async def dead(self) -> list[bytes]:
        return await self.elements(self.keys.dead)

    async def retry(self) -> list[bytes]:
        return await self.members(self.keys.retry)

    async def retrying(self) -> list[bytes]:
        return await self.members(self.keys.retrying)

    async def now(self) -> int:
        """Milliseconds of Redis' clock."""
        seconds, micros = await self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def loops(self, answers: Answers, **endpoint: Any) -> LaneLoops:
        """Build the lane of the only endpoint; none of its loops runs."""
        settings = self.settings.endpoints[0].model_copy(update=endpoint)
        gate = Gate(Breaker(settings.breaker_threshold, self.timings), 0, settings.concurrency, self.timings)
        outage = Outage(settings.name, "nowhere:9", 60, lambda: 0)
        attempt = Attempt(settings, httpx.MockTransport(answers))
        certificate = Certificate(settings.name)
        built = Endpoint(
            settings,
            attempt,
            certificate,
            gate,
            BatchSize(settings, self.timings),
            outage,
            Refusals(settings.name, 60),
        )
        return LaneLoops(
            self.shared,
            built,
            self.keys,
            slot=self.slot.number,
            oldest=self.topology.pending_oldest,
            metrics=LaneMetrics(settings.name),
        )

    @asynccontextmanager
    async def running(self, loops: LaneLoops) -> AsyncIterator[LaneLoops]:
        """Run all loops of a lane, and stop them as a signal would."""
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self.lease.keep())
            work = tasks.create_task(loops.run())
            try:
                yield loops
            finally:
                self.stopping.set()
                await asyncio.wait([work])
                keeping.cancel()


def _settings(url: str, integrator: str, endpoints: Sequence[str], variables: dict[str, str]) -> Settings:
    given = environment(url, variables.pop("webhook_url", NOWHERE), integrator, **variables)
    if endpoints:
        del given["CDR_WEBHOOK_URL"]
        given |= {f"CDR_ENDPOINTS__{name.upper()}__URL": f"{NOWHERE}{name}" for name in endpoints}
    return settings_from(given)


async def end_trust(rig: Rig) -> None:
    """Let the lease be somebody else's for a moment: until it is renewed, nothing may be claimed or posted."""
    await rig.redis.set(rig.slot.owner, "another", px=60_000)
    assert not await rig.lease.renew(rig.slot)
    await rig.redis.set(rig.slot.owner, rig.lease.value, px=60_000)
