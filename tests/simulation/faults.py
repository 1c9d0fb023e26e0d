"""What each fault of a plan does to the world, and how it ends."""

import signal
from collections import Counter
from collections.abc import Callable
from typing import Final

from tests.simulation.plan import Fault, Push
from tests.simulation.process import Process
from tests.simulation.world import INTEGRATOR, REDIS_HOST, SOURCE, Replica, World

MOST_REPLICAS: Final = 5

WITH_READ_ONLY_KEYS: Final = (7, 0)

WRONG: Final = b"not what belongs here"


def begin(world: World, fault: Fault) -> None:
    if not world.peaceful:
        world.happened[fault.kind] += 1
        world.note(f"{fault}")
        BEGIN[fault.kind](world, fault)


def _matters(world: World, fault: Fault, *, when: bool = True) -> None:
    world.mattered[fault.kind] += when


def _matters_if_met(world: World, fault: Fault, met: Counter[str], what: str) -> None:
    """Count it in the end, if anything meets it from now on."""
    before = met[what]
    world.to_be_met.append((fault.kind, lambda: met[what] > before))


def _is_busy(world: World) -> bool:
    """Tell whether some CDR waits, is claimed, or handed out."""
    return bool(world.ledger.waiting())


def _holds_some(world: World) -> bool:
    """Tell whether some CDR is in somebody's hands."""
    return any("processing" in place or "retrying" in place for place in world.ledger.waiting())


def _kill(world: World, fault: Fault) -> None:
    replica = world.replicas[fault.target]
    if replica.process is None:
        return
    _matters(world, fault, when=_holds_some(world))
    world.ledger.excuse()
    world.kill(replica, vanishes=fault.detail == "vanish")
    world.after(fault.lasts, _restart, world, replica)


def _restart(world: World, replica: Replica) -> None:
    if replica.process is None and not world.stopping:
        world.start(replica)


def _freeze(world: World, fault: Fault) -> None:
    process = world.replicas[fault.target].process
    if process is not None and not process.frozen:
        _matters(world, fault, when=_holds_some(world))
        world.ledger.excuse()
        world.loop.freeze(process)
        world.after(fault.lasts, _thaw, world, process)


def _thaw(world: World, process: Process) -> None:
    if process.frozen:
        world.note(f"{process.name} goes on")
        if process is not world.redis.process:
            world.ledger.excuse()
        world.loop.thaw(process)


def _replace(world: World, fault: Fault) -> None:
    """It is taken for dead, another one takes its place and, with it, its slot; then it comes back."""
    process = world.replicas[fault.target].process
    if process is None or process.frozen or len(world.replicas) >= MOST_REPLICAS:
        return
    _matters(world, fault, when=_holds_some(world))
    world.ledger.excuse()
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
        _matters(world, fault, when=_holds_some(world))
        replica.process.signal(signal.SIGTERM)
        world.after(fault.lasts + 30, _restart, world, replica)


def _partition(world: World, fault: Fault) -> None:
    here = f"10.0.1.{fault.target + 1}"
    there = REDIS_HOST if fault.detail == "redis" else world.endpoints[int(fault.detail.split()[1])].process.host
    pair = frozenset((here, there))
    _matters_if_met(world, fault, world.network.met, str(sorted(pair)))
    world.network.apart.add(pair)
    world.after(fault.lasts, _heal, world, pair)


def _heal(world: World, pair: frozenset[str]) -> None:
    world.network.apart.discard(pair)
    world.network.heal()


def _redis_restart(world: World, fault: Fault) -> None:
    if world.redis.process.alive:
        _matters(world, fault, when=_is_busy(world))
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
    _matters_if_met(world, fault, world.redis.engine.met, "full")
    world.redis.engine.full = True
    world.after(fault.lasts, _has_room, world)


def _has_room(world: World) -> None:
    world.redis.engine.full = world.swamped


def _swamp(world: World, fault: Fault) -> None:
    """What waits fills the memory: there is room only when all of it has been delivered."""
    if _is_busy(world):
        _matters_if_met(world, fault, world.redis.engine.met, "full")
        world.swamped = world.redis.engine.full = True


def _failover(world: World, fault: Fault) -> None:
    """The master becomes a replica for a moment; then there is a new one, at the same address, a little behind."""
    if not world.redis.process.alive or world.redis.engine.read_only:
        return
    _matters_if_met(world, fault, world.redis.engine.met, "failover")
    world.redis.demote()
    world.after(fault.lasts, _promoted, world, int(fault.detail))


def _promoted(world: World, lose: int) -> None:
    if world.redis.engine.read_only:
        world.redis.engine.read_only = False
        if world.redis.process.alive:
            world.loop.kill(world.redis.process)
            world.restart_redis(lose)


def _clock(world: World, fault: Fault) -> None:
    _matters(world, fault, when=_is_busy(world))
    world.ledger.excuse(even_alone=True)
    world.ledger.clock_is_true = False
    world.redis.offset += float(fault.detail)


def _right(world: World, fault: Fault) -> None:
    _matters_if_met(world, fault, world.redis.engine.met, "right")
    world.redis.engine.denied.add(fault.detail.encode())
    world.after(fault.lasts, world.redis.engine.denied.discard, fault.detail.encode())


def _lock(world: World, fault: Fault) -> None:
    """A right goes away to write to one kind of key, of the last lane if there are several.

    `inside`: scripts may still be given it, as a selector allows, and are refused in the middle.
    """
    kind, _, inside = fault.detail.partition(" ")
    lane = f"{world.names[-1]}:" if world.settings.fans_out else ""
    key = f"{INTEGRATOR}:{lane}{kind}:cdr".encode()
    engine = world.redis.engine
    if engine.version < WITH_READ_ONLY_KEYS:
        return
    locked = engine.locked_inside if inside else engine.locked
    _matters_if_met(world, fault, engine.met, "lock")
    locked.add(key)
    world.after(fault.lasts, locked.discard, key)


def _type(world: World, fault: Fault) -> None:
    """Somebody writes a string to a key of ours that is not there just now."""
    keys = [SOURCE] if fault.detail == "source" else [f"{INTEGRATOR}:{fault.detail}:cdr"]
    if fault.detail == "ops":
        keys = [f"{INTEGRATOR}:processing:cdr:2:ops"]
    elif world.settings.fans_out and fault.detail != "source":
        keys += [f"{INTEGRATOR}:{name}:{fault.detail}:cdr" for name in world.names]
    for key in keys[-1:]:
        if world.redis.engine.any(key.encode()) is None:
            _matters_if_met(world, fault, world.redis.engine.met, "type")
            world.redis.engine.mistyped.add(key.encode())
            world.redis.local(b"SET", key.encode(), WRONG)
            world.after(fault.lasts, _remove_wrong, world, key.encode())


def _remove_wrong(world: World, key: bytes) -> None:
    world.redis.engine.mistyped.discard(key)
    if world.redis.engine.any(key) == WRONG:
        world.redis.local(b"DEL", key)


def _flush(world: World, fault: Fault) -> None:
    engine = world.redis.engine
    _matters_if_met(world, fault, engine.met, "script flush")
    engine.flushed.update(engine.scripts)
    engine.scripts.clear()


def _kick(world: World, fault: Fault) -> None:
    _matters(world, fault, when=_is_busy(world))
    world.redis.kick_all()


def _mood(world: World, fault: Fault) -> None:
    name = world.endpoints[fault.target].name
    _matters_if_met(world, fault, world.judged, f"{name} {fault.detail}")
    world.moods[name] = fault.detail
    world.after(fault.lasts, world.moods.__setitem__, name, world.plan.mood)


def _unplug(world: World, fault: Fault) -> None:
    endpoint = world.endpoints[fault.target]
    if endpoint.process.alive:
        _matters_if_met(world, fault, world.network.met, endpoint.process.host)
        world.loop.kill(endpoint.process)
        world.after(fault.lasts, _plug, world, fault.target)


def _plug(world: World, number: int) -> None:
    endpoint = world.endpoints[number]
    if not endpoint.process.alive:
        endpoint.process = Process(endpoint.name, endpoint.process.host)
        endpoint.listen()


def _operator(world: World, fault: Fault) -> None:
    match fault.detail:
        case "inject":
            pushes = [Push(0.0, 2_000_000 + number) for number in range(3)]
            world.trace.names.update({push.body: push.name for push in pushes})
            _matters(world, fault)
            world.operate("inject", "\n".join(push.body.decode() for push in pushes))
        case "reroute":
            _matters(world, fault, when=bool(world.left_over()))
            world.reroute()
        case _:
            _matters(world, fault, when=bool(world.ledger.dead()))
            world.operate(fault.detail, "")


def _endpoints(world: World, fault: Fault) -> None:
    """Somebody changes how many endpoints are configured, and restarts one service after the other."""
    _matters(world, fault, when=_is_busy(world) and int(fault.detail) != len(world.settings.endpoints))
    world.configure(int(fault.detail))


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
    "endpoints": _endpoints,
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
    engine.locked_inside.clear()
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
