"""How good the simulated network is."""

from random import Random
from typing import TYPE_CHECKING, Final

from tests.simulation.network import NOTHING, Fate, Transport
from tests.simulation.plan import Plan
from tests.simulation.redis.server import PORT as REDIS

if TYPE_CHECKING:
    from tests.simulation.world import World

SETTLES: Final = (b"EVALSHA", b"BLMOVE", b"EVAL", b"POST")
"""What a request begins with, or has near its begin, that moves CDRs."""


class SimulatedWeather:
    """Rates and latencies are the plan's."""

    def __init__(self, world: "World", plan: Plan, chance: Random) -> None:
        self._world = world
        self._plan = plan
        self._chance = chance

    def latency(self, sender: Transport) -> tuple[float, float]:
        to_redis = self._is_redis(sender)
        base = self._plan.redis_latency if to_redis else self._chance.choice((0.0005, 0.01, 0.1))
        return base * self._chance.uniform(0.5, 1.5), self._plan.bandwidth

    def fate(self, sender: Transport, data: bytes) -> Fate:
        world = self._world
        if data.startswith(b"POST ") and sender.process is not None:
            world.ledger.on_post(sender.process)
        if world.peaceful or not self._plan.packets:
            return NOTHING
        fate = Fate()
        for kind, rate in self._plan.packets.items():
            if self._chance.random() < rate:
                world.happened[kind] += 1
                world.mattered[kind] += (
                    sender.matters or any(word in data[:32] for word in SETTLES) or not self._is_redis(sender)
                )
                self._suffer(fate, kind)
                if kind in ("cut", "hole"):
                    side = "request to" if sender.peername[0] == self._host(sender) else "reply of"
                    world.note(f"    a {side} {self._host(sender)} is lost ({kind})")
        return fate

    def _suffer(self, fate: Fate, kind: str) -> None:
        match kind:
            case "cut":
                fate.cut = True
            case "hole":
                fate.hole = True
            case "late":
                fate.late = self._chance.choice((0.1, 1.0, 6.0))
            case "split":
                fate.pieces = self._chance.randint(2, 4)

    def _is_redis(self, sender: Transport) -> bool:
        return REDIS in (sender.peername[1], sender.peer.peername[1])

    def _host(self, sender: Transport) -> str:
        served = sender if sender.peername[1] in (REDIS, 80) else sender.peer
        return served.peername[0]
