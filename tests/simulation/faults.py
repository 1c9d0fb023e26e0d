"""What each fault of a plan does to the world, and how it ends."""

import signal
from collections.abc import Callable
from typing import Final

from tests.simulation.plan import Fault, Push
from tests.simulation.process import Process
from tests.simulation.world import INTEGRATOR, REDIS_HOST, SOURCE, Replica, World

MOST_REPLICAS: Final = 5

WRONG: Final = b"not what belongs here"


def begin(world: World, fault: Fault) -> None:
    if not world.peaceful:
        world.happened[fault.kind] += 1
        world.note(f"{fault}")
        BEGIN[fault.kind](world, fault)


def _matters(world: World, fault: Fault, *, when: bool = True) -> None:
    world.mattered[fault.kind] += when


def _is_busy(world: World) -> bool:
    return bool(world.ledger.waiting())


def _excuse(world: World, fault: Fault) -> None:
    world.ledger.excuse = world.ledger.excuse or str(fault)


def _kill(world: World, fault: Fault) -> None:
    replica = world.replicas[fault.target]
    if replica.process is None:
        return
    _matters(world, fault, when=_is_busy(world))
    _excuse(world, fault)
    world.kill(replica, vanishes=fault.detail == "vanish")
    world.after(fault.lasts, _restart, world, replica)


def _restart(world: World, replica: Replica) -> None:
    if replica.process is None and not world.stopping:
        world.start(replica)


def _freeze(world: World, fault: Fault) -> None:
    process = world.replicas[fault.target].process
    if process is not None and not process.frozen:
        _matters(world, fault, when=_is_busy(world))
        _excuse(world, fault)
        world.loop.freeze(process)
        world.after(fault.lasts, _thaw, world, process)


def _thaw(world: World, process: Process) -> None:
    if process.frozen:
        world.note(f"{process.name} goes on")
        world.loop.thaw(process)


def _replace(world: World, fault: Fault) -> None:
    """It is taken for dead, another one takes its place and, with it, its slot; then it comes back."""
    process = world.replicas[fault.target].process
    if process is None or process.frozen or len(world.replicas) >= MOST_REPLICAS:
        return
    _matters(world, fault, when=_is_busy(world))
    _excuse(world, fault)
    if fault.detail == "freeze":
        world.loop.freeze(process)
        world.after(fault.lasts, _thaw, world, process)
    else:
        pair = frozenset((process.host, REDIS_HOST))
        world.network.apart.add(pair)
        world.after(fault.lasts, _heal, world, pair)
    world.after(world.settings.lease + 0.5, world.add_replica)


def _stop(world: World, fault: Fault) -> None:
    replica = world.replicas[fault.target]
    if replica.process is not None:
        _matters(world, fault, when=_is_busy(world))
        replica.process.signal(signal.SIGTERM)
        world.after(fault.lasts + 30, _restart, world, replica)


def _partition(world: World, fault: Fault) -> None:
    here = f"10.0.1.{fault.target + 1}"
    there = REDIS_HOST if fault.detail == "redis" else f"10.0.2.{int(fault.detail.split()[1]) + 1}"
    pair = frozenset((here, there))
    _matters(world, fault, when=_is_busy(world))
    world.network.apart.add(pair)
    world.after(fault.lasts, _heal, world, pair)


def _heal(world: World, pair: frozenset[str]) -> None:
    world.network.apart.discard(pair)
    world.network.heal()


def _redis_restart(world: World, fault: Fault) -> None:
    if world.redis.process.alive:
        _matters(world, fault, when=_is_busy(world))
        if int(fault.detail):
            _excuse(world, fault)
        world.loop.kill(world.redis.process)
        world.after(fault.lasts, _redis_up, world, int(fault.detail))


def _redis_up(world: World, lose: int) -> None:
    if not world.redis.process.alive:
        world.restart_redis(lose)


def _redis_freeze(world: World, fault: Fault) -> None:
    process = world.redis.process
    if process.alive and not process.frozen:
        _matters(world, fault, when=_is_busy(world))
        world.loop.freeze(process)
        world.after(fault.lasts, _thaw, world, process)


def _full(world: World, fault: Fault) -> None:
    _matters(world, fault, when=_is_busy(world))
    world.redis.engine.full = True
    world.after(fault.lasts, _has_room, world)


def _has_room(world: World) -> None:
    world.redis.engine.full = world.swamped


def _swamp(world: World, fault: Fault) -> None:
    """What waits fills the memory: there is room only when all of it has been delivered."""
    if _is_busy(world):
        _matters(world, fault)
        world.swamped = world.redis.engine.full = True


def _failover(world: World, fault: Fault) -> None:
    """The master becomes a replica for a moment; then there is a new one, at the same address, a little behind."""
    if not world.redis.process.alive or world.redis.engine.read_only:
        return
    _matters(world, fault, when=_is_busy(world))
    if int(fault.detail):
        _excuse(world, fault)
    world.redis.demote()
    world.after(fault.lasts, _promoted, world, int(fault.detail))


def _promoted(world: World, lose: int) -> None:
    if world.redis.engine.read_only:
        world.redis.engine.read_only = False
        if world.redis.process.alive:
            world.loop.kill(world.redis.process)
            world.restart_redis(lose)


def _clock(world: World, fault: Fault) -> None:
    _matters(world, fault)
    _excuse(world, fault)
    world.ledger.clock_is_true = False
    world.redis.offset += float(fault.detail)


def _right(world: World, fault: Fault) -> None:
    _matters(world, fault, when=_is_busy(world))
    world.redis.engine.denied.add(fault.detail.encode())
    world.after(fault.lasts, world.redis.engine.denied.discard, fault.detail.encode())


def _lock(world: World, fault: Fault) -> None:
    """A right goes away to write to one kind of key, of the last lane if there are several."""
    lane = f"{world.endpoints[-1].name}:" if world.plan.endpoints > 1 else ""
    key = f"{INTEGRATOR}:{lane}{fault.detail}:cdr".encode()
    _matters(world, fault, when=_is_busy(world))
    world.redis.engine.locked.add(key)
    world.after(fault.lasts, world.redis.engine.locked.discard, key)


def _type(world: World, fault: Fault) -> None:
    """Somebody writes a string to a key of ours that is not there just now."""
    keys = [SOURCE] if fault.detail == "source" else [f"{INTEGRATOR}:{fault.detail}:cdr"]
    if fault.detail == "ops":
        keys = [f"{INTEGRATOR}:processing:cdr:2:ops"]
    elif world.plan.endpoints > 1 and fault.detail != "source":
        keys += [f"{INTEGRATOR}:{one.name}:{fault.detail}:cdr" for one in world.endpoints]
    for key in keys[-1:]:
        if world.redis.engine.any(key.encode()) is None:
            _matters(world, fault, when=_is_busy(world))
            world.redis.local(b"SET", key.encode(), WRONG)
            world.after(fault.lasts, _remove_wrong, world, key.encode())


def _remove_wrong(world: World, key: bytes) -> None:
    if world.redis.engine.any(key) == WRONG:
        world.redis.local(b"DEL", key)


def _flush(world: World, fault: Fault) -> None:
    _matters(world, fault, when=_is_busy(world))
    world.redis.engine.scripts.clear()


def _kick(world: World, fault: Fault) -> None:
    _matters(world, fault, when=_is_busy(world))
    world.redis.kick_all()


def _mood(world: World, fault: Fault) -> None:
    name = world.endpoints[fault.target].name
    _matters(world, fault, when=_is_busy(world))
    world.moods[name] = fault.detail
    world.after(fault.lasts, world.moods.__setitem__, name, world.plan.mood)


def _unplug(world: World, fault: Fault) -> None:
    endpoint = world.endpoints[fault.target]
    if endpoint.process.alive:
        _matters(world, fault, when=_is_busy(world))
        world.loop.kill(endpoint.process)
        world.after(fault.lasts, _plug, world, fault.target)


def _plug(world: World, number: int) -> None:
    endpoint = world.endpoints[number]
    if not endpoint.process.alive:
        endpoint.process = Process(endpoint.name, endpoint.process.host)
        endpoint.listen()


def _operator(world: World, fault: Fault) -> None:
    lines = ""
    if fault.detail == "inject":
        pushes = [Push(0.0, 2_000_000 + number) for number in range(3)]
        world.trace.names.update({push.body: push.name for push in pushes})
        lines = "\n".join(push.body.decode() for push in pushes)
    _matters(world, fault, when=fault.detail == "inject" or bool(world.ledger.dead()))
    world.operate(fault.detail, lines)


BEGIN: Final[dict[str, Callable[[World, Fault], None]]] = {
    "kill": _kill,
    "freeze": _freeze,
    "replace": _replace,
    "stop": _stop,
    "partition": _partition,
    "redis restart": _redis_restart,
    "redis freeze": _redis_freeze,
    "full": _full,
    "swamp": _swamp,
    "failover": _failover,
    "clock": _clock,
    "right": _right,
    "lock": _lock,
    "type": _type,
    "script flush": _flush,
    "kick": _kick,
    "mood": _mood,
    "unplug": _unplug,
    "operator": _operator,
}


def end_all(world: World) -> None:
    """Repair everything at once. What was lost stays lost."""
    if not world.redis.process.alive:
        world.restart_redis(0)
    _thaw(world, world.redis.process)
    engine = world.redis.engine
    engine.read_only = False
    _has_room(world)
    engine.denied.clear()
    engine.locked.clear()
    for key in engine.every_key():
        _remove_wrong(world, key)
    world.network.apart.clear()
    world.network.heal()
    for number in range(len(world.endpoints)):
        _plug(world, number)
    for replica in world.replicas:
        if replica.process is None:
            world.start(replica)
        else:
            _thaw(world, replica.process)
