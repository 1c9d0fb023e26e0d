"""What surrounds a forwarder: Redis and the keys in it, a receiver, variables, and how it is started."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from redis.asyncio import Redis

from app.config.settings import Settings
from app.demo.embedded import EmbeddedRedis
from app.store.keys import Slot, Topology
from tests.support.forwarder import owns_a_list
from tests.support.harness import Child, settings_from
from tests.support.receiver import Receiver
from tests.support.scripted import ScriptedReceiver

Launch = Callable[..., Awaitable[Child]]


@dataclass(frozen=True)
class Surroundings:
    """One integrator on one Redis; `variables` lead a forwarder from there to the receiver."""

    server: EmbeddedRedis
    redis: Redis
    integrator: str
    variables: dict[str, str]
    launch: Launch

    def with_variables(self, **variables: str) -> Self:
        """Return the same with other variables; their names are without CDR_, in lower case."""
        changed = {f"CDR_{name.upper()}": value for name, value in variables.items()}
        return replace(self, variables=self.variables | changed)

    @property
    def source(self) -> str:
        return f"{self.integrator}-source"

    @property
    def processing(self) -> str:
        return f"{self.integrator}:processing:cdr"

    @property
    def retry(self) -> str:
        return f"{self.integrator}:retry:cdr"

    @property
    def retrying(self) -> str:
        return f"{self.integrator}:retrying:cdr"

    @property
    def dead(self) -> str:
        return f"{self.integrator}:dead:cdr"

    @property
    def waiting(self) -> tuple[str, ...]:
        """All keys that hold CDRs which are still to be delivered."""
        return (self.source, self.processing, self.retry, self.retrying)

    @property
    def settings(self) -> Settings:
        return settings_from(self.variables)

    @property
    def slots(self) -> list[Slot]:
        return Topology(self.settings.sources[0]).short.slots()

    async def start(self, changes: Mapping[str, str] | None = None, *, slot: int = 0) -> Child:
        """Start a forwarder with these variables changed; with a slot, wait until somebody owns it."""
        forwarder = await self.launch(self.variables | dict(changes or {}), "run")
        if slot:
            await owns_a_list(self.redis, self.integrator, slot)
        return forwarder

    async def command(self, *arguments: str) -> Child:
        """Start another command than `run`, with the forwarder's variables."""
        return await self.launch(self.variables, *arguments)


@dataclass(frozen=True)
class World(Surroundings):
    """Short leases, frequent sweeps and no long backoff: for what should show quickly."""

    receiver: Receiver


@dataclass(frozen=True)
class DefaultWorld(Surroundings):
    """All pauses are the defaults, and the receiver answers as a script says."""

    receiver: ScriptedReceiver
