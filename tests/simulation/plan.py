"""What happens in one run: made from a seed, written as JSON, and made smaller by whoever looks for the cause."""

import json
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any, Final

MOODS: Final[dict[str, dict[str, int]]] = {
    "good": {"204": 1},
    "varied": {"204": 6, "200": 2, "2xx-chunked": 1, "2xx-close": 1, "slow": 1},
    "sloppy": {"204": 4, "2xx-junk": 1, "2xx-twice": 1, "2xx-reset": 1, "2xx-hang": 1, "2xx-close": 1},
    "flaky": {"204": 12, "500": 3, "503": 1, "reset": 1, "close": 1, "half": 1, "garbage": 1, "hang": 1, "late": 1},
    "down": {"503": 1},
    "busy": {"429+2": 1, "503+5": 1, "204": 2},
    "closed": {"404": 3, "401": 1, "301": 1},
    "wrong": {"400": 1},
    "half-wrong": {"400": 1, "204": 2},
    "slow": {"slow": 1},
    "hanging": {"hang": 4, "late": 1},
    "late": {"late": 1, "2xx-late": 2, "204": 2},
    "gone": {"410": 1},
}

MILD_MOODS: Final = ("good", "varied", "sloppy")
MOODS_AT_REST: Final = (*MILD_MOODS, "good", "flaky")

LATENCIES: Final = (0.0002, 0.0002, 0.002, 0.03, 0.2)
"""Of the way to Redis, in seconds."""

RIGHTS: Final = (
    "lrem",
    "rpush",
    "lmove",
    "blmove",
    "lpop",
    "rpop",
    "hset",
    "hdel",
    "pexpire",
    "zadd",
    "zrem",
    "evalsha",
)

PACKETS: Final = ("cut", "hole", "late", "split")

PROMPT: Final = 45.0
"""Seconds in which a mild run is over: less than the pause between two sweeps."""

BACKOFFS: Final = 900.0
HOURLY: Final = 2.5 * 3600.0
"""Where an endpoint has said that it is gone for good, or where a clock was an hour wrong, twice perhaps."""

GOOD, TWIN, POISON, EMPTY, LARGE, BINARY = "good", "twin", "poison", "empty", "large", "binary"
SPOILER: Final = "spoiler"
"""JSON that is rejected, and any batch with it."""
DEFERRED: Final = "deferred"
"""A good one that stands in the retry set, due now, as after a replay of many; only where there is one endpoint."""


@dataclass(frozen=True)
class Push:
    at: float
    number: int
    """Equal numbers are twins."""
    kind: str = GOOD

    @property
    def body(self) -> bytes:
        match self.kind:
            case "poison":
                return b"poison %d" % self.number
            case "spoiler":
                return b'{"poison":%d}' % self.number
            case "empty":
                return b""
            case "large":
                return b"large %d " % self.number + b"x" * 150_000
            case "binary":
                return b"\xff\x00\r\n%d" % self.number
        return b'{"type":"cdr","payload":{"call_ref":"%d"}}' % self.number

    @property
    def member(self) -> bytes:
        return b"cdr1 before-%d 1 0 1 0 1 http_5xx 0 1\n%b" % (self.number, self.body)

    @property
    def name(self) -> str:
        return f"{self.kind if self.kind not in (GOOD, TWIN) else 'CDR'} {self.number}"


@dataclass(frozen=True)
class Fault:
    at: float
    kind: str
    lasts: float = 0.0
    target: int = 0
    detail: str = ""

    def __str__(self) -> str:
        said = f"{self.kind} {self.detail}".strip()
        return f"{said} #{self.target} for {self.lasts:.1f} s"


@dataclass(frozen=True)
class Plan:
    """`duration`: seconds after which all faults end; what is left must then drain."""

    seed: int
    services: int = 1
    endpoints: int = 1
    """One: on the short keys. Several: each has a lane of its own."""
    oldest: str = "head"
    redis: str = "7.0"
    settings: dict[str, str] = field(default_factory=dict)
    disorder: float = 0.0
    redis_latency: float = 0.0003
    bandwidth: float = 1e8
    duration: float = 30.0
    pushes: tuple[Push, ...] = ()
    faults: tuple[Fault, ...] = ()
    packets: dict[str, float] = field(default_factory=dict)
    """How often a write to the network suffers: cut, hole, late, split."""
    mood: str = "good"
    patience: float = BACKOFFS
    """Seconds within which everything must have drained after the faults have ended."""
    spoils: str = "400"
    """The answer to a batch that holds what is rejected."""
    most_bytes: int = 0
    """A batch with a larger body is answered 413; 0: none is too large."""
    good_within: float = 0.0
    """Seconds within which all but what is rejected must have been delivered; 0: no sooner than the rest."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        stored: dict[str, Any] = json.loads(text)
        stored["pushes"] = tuple(Push(**one) for one in stored["pushes"])
        stored["faults"] = tuple(Fault(**one) for one in stored["faults"])
        return cls(**stored)

    def but(self, **changes: Any) -> "Plan":
        return replace(self, **changes)


def made_up(seed: int, theme: str) -> Plan:
    """Make up a run. Each has only some kinds of faults, since many at once hide each other."""
    chance = Random(f"plan {seed}")
    services = chance.choice((1, 2, 2, 2, 3))
    endpoints = chance.choice((1, 1, 3))
    duration = chance.choice((5.0, 20.0, 40.0, 70.0))
    if theme in ("takeovers", "stale", "two hands"):
        services, duration = 3, 70.0
    if theme == "storms":
        duration = 200.0
    pushes = tuple(_pushes(chance, duration))
    if theme == "batches":
        pushes = tuple(replace(push, kind=SPOILER) if push.kind == POISON else push for push in pushes)
    faults = tuple(_faults(chance, theme, duration, services, endpoints, pushes))
    packets = _packets(chance, theme)
    mood = chance.choice(MOODS_AT_REST if theme != "mild" else MILD_MOODS)
    settings = _settings(chance, theme)
    spoils = chance.choice(("400", "500", "503")) if theme == "batches" else "400"
    is_paced = "WEBHOOK_RATE_LIMIT" in settings
    return Plan(
        seed=seed,
        services=services,
        endpoints=endpoints,
        oldest=chance.choice(("head", "head", "tail")),
        redis=chance.choice(("6.2", "7.0", "7.2", "8.0")),
        settings=settings,
        disorder=chance.choice((0.0, 0.1, 0.5)),
        redis_latency=chance.choice(LATENCIES[-2:] if theme in ("takeovers", "stale") else LATENCIES),
        bandwidth=chance.choice((1e8, 1e8, 1e8, 1e6)),
        duration=duration,
        pushes=pushes,
        faults=faults,
        packets=packets,
        mood=mood,
        spoils=spoils,
        patience=max(BACKOFFS + 10 * len(pushes) if is_paced else 0.0, _patience(faults, packets, mood, pushes)),
    )


def _settings(chance: Random, theme: str) -> dict[str, str]:
    if theme == "slow":
        return {"WEBHOOK_CONCURRENCY": "32", "WEBHOOK_RATE_LIMIT": "0.3"}
    if theme == "stale":
        return {"WEBHOOK_CONCURRENCY": "1", "WEBHOOK_RATE_LIMIT": "1"}
    settings = {"WEBHOOK_CONCURRENCY": str(chance.choice((1, 2, 4, 32)))}
    if chance.random() < 0.15:
        settings["WEBHOOK_RATE_LIMIT"] = str(chance.choice((1, 5, 20)))
    if chance.random() < 0.2:
        settings["WEBHOOK_BREAKER_THRESHOLD"] = str(chance.choice((1, 2, 5)))
    return settings | batches(chance) if theme == "batches" else settings


def batches(chance: Random) -> dict[str, str]:
    """Return the settings of some kind of batches."""
    return {
        "WEBHOOK_BATCH_SIZE": str(chance.choice((2, 3, 8, 20, 64))),
        "WEBHOOK_BATCH_BYTES": str(chance.choice((1024, 4096, 1_048_576))),
        "WEBHOOK_BATCH_LINGER": str(chance.choice((0, 0.1, 0.1, 2, 5))),
        "WEBHOOK_BATCH_FORMAT": chance.choice(("envelope", "envelope", "json", "ndjson")),
    }


def _patience(faults: tuple[Fault, ...], packets: dict[str, float], mood: str, pushes: tuple[Push, ...]) -> float:
    """Return how long it may take until all is delivered, by the longest pause that anything in the plan leads to."""
    if any(fault.kind == "clock" or fault.detail == "gone" for fault in faults):
        return HOURLY
    return PROMPT if _is_mild(faults, packets, mood) and not _has_odd(pushes) else BACKOFFS


def _is_mild(faults: tuple[Fault, ...], packets: dict[str, float], mood: str) -> bool:
    """Tell whether nothing happens that anybody has to wait for: only single replies are lost."""
    return not faults and mood != "flaky" and packets.keys() <= {"cut", "split"} and packets.get("cut", 0) <= 0.01


def _has_odd(pushes: tuple[Push, ...]) -> bool:
    return any(is_bad(push.body) for push in pushes)


def is_bad(body: bytes) -> bool:
    """Tell whether endpoints reject it."""
    return body.startswith((b"poison", b'{"poison"'))


def _pushes(chance: Random, duration: float) -> list[Push]:
    number = chance.choice((2, 6, 15, 40, 80))
    twins = chance.choice((0.0, 0.2, 0.6))
    odd = chance.choice((0.0, 0.0, 0.1, 0.3))
    at_once = chance.random() < 0.4
    pushes = []
    for index in range(number):
        at = 0.0 if at_once else round(chance.uniform(0, duration * 0.8), 3)
        if chance.random() < odd:
            pushes.append(Push(at, index, chance.choice((POISON, POISON, POISON, EMPTY, LARGE, BINARY))))
        elif chance.random() < twins:
            pushes.append(Push(at, chance.randrange(max(1, number // 8)), TWIN))
        else:
            pushes.append(Push(at, index))
    return sorted(pushes, key=lambda push: push.at)


def _packets(chance: Random, theme: str) -> dict[str, float]:
    rates = {"cut": (0.002, 0.01, 0.05), "hole": (0.0005, 0.002), "late": (0.005, 0.02), "split": (0.05, 0.3)}
    if theme == "replies":
        return {"cut": chance.choice((0.02, 0.05, 0.1))}
    if theme == "delays":
        return {"late": chance.choice((0.02, 0.1))}
    if theme == "mild":
        return {"cut": 0.01}
    if chance.random() < 0.4:
        return {}
    return {kind: chance.choice(choices) for kind, choices in rates.items() if chance.random() < 0.5}


def _faults(
    chance: Random, theme: str, duration: float, services: int, endpoints: int, pushes: tuple[Push, ...]
) -> list[Fault]:
    makers = THEMES.get(theme, EVERYTHING)
    if theme == "mild":
        return []
    some = chance.sample(makers, min(len(makers), chance.choice((0, 1, 2, 3, 5)) if theme == "any" else 3))
    faults = []
    for _ in range(chance.choice((1, 2, 4, 8)) if some else 0):
        at = chance.uniform(0, duration)
        if chance.random() < 0.6:  # while something is on its way
            at = min(duration, chance.choice(pushes).at + chance.expovariate(1 / chance.choice((0.03, 0.3, 3.0))))
        faults.append(chance.choice(some)(chance, round(at, 4), services, endpoints))
    return sorted(faults, key=lambda fault: fault.at)


def _lasting(chance: Random) -> float:
    """Return a time that is shorter than all leases and timeouts, or longer than some."""
    return round(chance.choice((0.2, 3.0, 11.0, 18.0, 40.0)) * chance.uniform(0.6, 1.4), 3)


def _kill(chance: Random, at: float, services: int, _: int) -> Fault:
    return Fault(at, "kill", _lasting(chance), chance.randrange(services), chance.choice(("", "", "vanish")))


def _freeze(chance: Random, at: float, services: int, _: int) -> Fault:
    return Fault(at, "freeze", _lasting(chance), chance.randrange(services))


def _usurp(chance: Random, at: float, services: int, _: int) -> Fault:
    """It starts again about when another one adopts what it had."""
    return Fault(at, "kill", round(chance.uniform(20, 34), 3), chance.randrange(services))


def _cut_off(chance: Random, at: float, services: int, _: int) -> Fault:
    return Fault(at, "partition", round(chance.uniform(15, 60), 3), chance.randrange(services), "redis")


def _sleep(chance: Random, at: float, services: int, _: int) -> Fault:
    """It sleeps until others have adopted what it had, and nobody has taken its slot."""
    return Fault(at, "freeze", round(chance.uniform(35, 100), 3), chance.randrange(services))


def _bad_mood(chance: Random, at: float, _: int, endpoints: int) -> Fault:
    mood = chance.choice(("hanging", "down", "flaky", "late"))
    return Fault(at, "mood", round(chance.uniform(20, 120), 3), chance.randrange(endpoints), mood)


def _failing_for_a_while(chance: Random, at: float, _: int, endpoints: int) -> Fault:
    return Fault(at, "mood", round(chance.uniform(10, 60), 3), chance.randrange(endpoints), "flaky")


def _storm(chance: Random, at: float, _: int, endpoints: int) -> Fault:
    """It rejects everything for longer than a minute."""
    return Fault(at, "mood", round(chance.uniform(70, 170), 3), chance.randrange(endpoints), "wrong")


def _outage(chance: Random, at: float, *_: int) -> Fault:
    """Redis is away for longer than a lease, and all leases end at once."""
    return Fault(at, "redis restart", round(chance.uniform(14, 40), 3), detail="0")


def _replace(chance: Random, at: float, services: int, _: int) -> Fault:
    """It is taken for dead, and another one is started in its place; then it comes back."""
    return Fault(
        at, "replace", round(chance.uniform(20, 60), 3), chance.randrange(services), chance.choice(("freeze", "apart"))
    )


def _stop(chance: Random, at: float, services: int, _: int) -> Fault:
    return Fault(at, "stop", _lasting(chance), chance.randrange(services))


def _partition(chance: Random, at: float, services: int, endpoints: int) -> Fault:
    far = chance.choice(("redis", "redis", f"endpoint {chance.randrange(endpoints)}"))
    return Fault(at, "partition", _lasting(chance), chance.randrange(services), far)


def _redis_restart(chance: Random, at: float, *_: int) -> Fault:
    return Fault(at, "redis restart", _lasting(chance), detail=str(chance.choice((0, 0, 1, 3, 20))))


def _redis_freeze(chance: Random, at: float, *_: int) -> Fault:
    return Fault(at, "redis freeze", _lasting(chance))


def _full(chance: Random, at: float, *_: int) -> Fault:
    return Fault(at, "full", _lasting(chance))


def _swamp(_: Random, at: float, *__: int) -> Fault:
    return Fault(at, "swamp")


def _failover(chance: Random, at: float, *_: int) -> Fault:
    return Fault(at, "failover", round(chance.uniform(0.1, 5.0), 3), detail=str(chance.choice((0, 1, 5))))


def _clock(chance: Random, at: float, *_: int) -> Fault:
    return Fault(at, "clock", detail=str(chance.choice((-36000, -3600, -20, -1, 1, 20, 3600, 36000))))


def _right(chance: Random, at: float, *_: int) -> Fault:
    return Fault(at, "right", _lasting(chance), detail=chance.choice(RIGHTS))


def _lock(chance: Random, at: float, *_: int) -> Fault:
    kind = chance.choice(("processing", "retry", "retrying", "dead", "pending", "pending"))
    return Fault(at, "lock", _lasting(chance), detail=kind + chance.choice(("", " inside", " inside")))


def _type(chance: Random, at: float, *_: int) -> Fault:
    kind = chance.choice(("processing", "retry", "retrying", "dead", "pending", "source", "ops"))
    return Fault(at, "type", _lasting(chance), detail=kind)


def _flush(_: Random, at: float, *__: int) -> Fault:
    return Fault(at, "script flush")


def _kick(_: Random, at: float, *__: int) -> Fault:
    return Fault(at, "kick")


def _mood(chance: Random, at: float, _: int, endpoints: int) -> Fault:
    mood = chance.choice(tuple(MOODS))
    return Fault(at, "mood", _lasting(chance) * chance.choice((1, 1, 3)), chance.randrange(endpoints), mood)


def _unplug(chance: Random, at: float, _: int, endpoints: int) -> Fault:
    return Fault(at, "unplug", _lasting(chance), chance.randrange(endpoints))


def _operator(chance: Random, at: float, *_: int) -> Fault:
    return Fault(at, "operator", detail=chance.choice(("replay", "replay", "drop", "inject")))


def _change(chance: Random, at: float, *_: int) -> Fault:
    return Fault(at, "endpoints", detail=chance.choice("1233"))


def _reroute(_: Random, at: float, *__: int) -> Fault:
    return Fault(at, "operator", detail="reroute")


EVERYTHING: Final = (
    *(_kill, _kill, _freeze, _freeze, _replace, _stop, _partition, _redis_restart, _redis_freeze, _full, _swamp),
    *(_failover, _clock, _right, _lock, _type, _flush, _kick, _mood, _mood, _mood, _unplug, _operator, _change),
)

THEMES: Final = {
    "owners": (_kill, _freeze, _replace, _replace, _stop, _partition),
    "takeovers": (_usurp, _usurp, _outage, _redis_freeze),
    "stale": (_cut_off, _freeze, _replace),
    "slow": (_failing_for_a_while, _kick),
    "storms": (_storm,),
    "two hands": (_sleep, _sleep, _bad_mood),
    "replies": (_kick, _partition, _redis_restart, _kill),
    "refusals": (_right, _right, _lock, _type, _full, _swamp, _operator),
    "endpoints": (_mood, _mood, _mood, _unplug, _operator, _stop),
    "changes": (_change, _change, _reroute, _stop, _kill, _mood),
    "delays": (_redis_freeze, _partition),
    "batches": (_kill, _freeze, _stop, _mood, _mood, _bad_mood, _unplug, _operator, _partition, _redis_restart),
    "mild": (),
    "redis": (_redis_restart, _redis_freeze, _failover, _clock, _flush, _kick),
}
"""What a run may concentrate on."""
