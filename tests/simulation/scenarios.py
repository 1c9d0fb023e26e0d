"""Runs that lead to where chance alone seldom comes: each is a plan of its own kind, which varies with the seed."""

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from tests.simulation.plan import (
    BACKOFFS,
    DEFERRED,
    GOOD,
    HOURLY,
    POISON,
    SPOILER,
    THEMES,
    Fault,
    Plan,
    Push,
    batches,
    made_up,
)


def plan_of(seed: int, theme: str = "") -> Plan:
    """Return the plan of a seed: one of `SCENARIOS`, or one that is made up about one of `THEMES`."""
    if not theme:
        theme = Random(f"theme {seed}").choice((*("any",) * 12, *THEMES, *THEMES, *SCENARIOS))
    if theme in SCENARIOS:
        return SCENARIOS[theme](seed, Random(f"{theme} {seed}"))
    return made_up(seed, theme)


def _pushes(number: int, chance: Random, seconds: float, *, first: int = 0, kind: str = GOOD) -> tuple[Push, ...]:
    """Return CDRs that come within so many seconds; 0: all at once."""
    return tuple(Push(round(chance.uniform(0, seconds), 3), first + index, kind) for index in range(number))


def _sorted(things: Iterable[Push]) -> tuple[Push, ...]:
    return tuple(sorted(things, key=lambda push: push.at))


def _refused_in_the_middle(seed: int, chance: Random) -> Plan:
    """The last lane may not be pushed to for a while, and only what a script does there is refused."""
    return Plan(
        seed,
        services=chance.choice((1, 2)),
        endpoints=3,
        redis="7.2",
        duration=20.0,
        pushes=_sorted(_pushes(20, chance, 10.0)),
        faults=(Fault(round(chance.uniform(0.5, 5.0), 3), "lock", 5.0, detail="pending inside"),),
    )


def _behind_bad_ones(seed: int, chance: Random) -> Plan:
    """An outage leaves good CDRs deferred; then hundreds come that are rejected, which keep the breaker open."""
    good = _pushes(6, chance, 1.0)
    bad = tuple(Push(round(12.0 + chance.random(), 3), 100 + index, POISON) for index in range(300))
    return Plan(
        seed,
        settings={"WEBHOOK_BREAKER_THRESHOLD": "3", "WEBHOOK_CONCURRENCY": "4"},
        duration=15.0,
        pushes=_sorted((*good, *bad)),
        faults=(Fault(0.0, "mood", 14.0, 0, "down"),),
        patience=HOURLY,
        good_within=120.0,
    )


def _all_rejected(seed: int, chance: Random) -> Plan:
    """All that there is at first is rejected by all endpoints, so that every breaker opens; then good ones come."""
    bad = _pushes(chance.choice((12, 20)), chance, 0.0, kind=POISON)
    good = tuple(Push(round(chance.uniform(8.0, 12.0), 3), 100 + index) for index in range(5))
    return Plan(seed, endpoints=3, duration=15.0, pushes=_sorted((*bad, *good)))


def _paced(seed: int, chance: Random) -> Plan:
    """Many deferred CDRs are due at once, and the rate limit lets them wait for longer than they are visible."""
    return Plan(
        seed,
        services=2,
        settings={"WEBHOOK_CONCURRENCY": "32", "WEBHOOK_RATE_LIMIT": str(chance.choice((0.3, 0.4)))},
        duration=150.0,
        disorder=0.1,
        pushes=_pushes(chance.choice((40, 80, 120)), chance, 0.0, kind=DEFERRED),
    )


def _given_back_late(seed: int, chance: Random) -> Plan:
    """The same, and services are stopped meanwhile."""
    stops = (Fault(round(chance.uniform(63.0, 85.0), 3), "stop", 1.0, target) for target in (0, 1))
    return _paced(seed, chance).but(faults=tuple(sorted(stops, key=lambda fault: fault.at)))


def _dies_with_some_in_hand(seed: int, chance: Random) -> Plan:
    """The same, and a service dies with what it was handed."""
    died = round(chance.uniform(3.0, 30.0), 3)
    return _paced(seed, chance).but(faults=(Fault(died, "kill", 5.0, chance.randrange(2)),))


def _slow(seed: int, chance: Random) -> Plan:
    """Nothing is answered at first, and no breaker opens: what is deferred waits behind attempts that time out."""
    return Plan(
        seed,
        services=2,
        settings={
            "WEBHOOK_BREAKER_THRESHOLD": "1000000",
            "WEBHOOK_CONCURRENCY": str(chance.choice((4, 8, 16))),
            "WEBHOOK_BACKOFF": "0.1",
        },
        duration=200.0,
        disorder=0.1,
        mood="hanging",
        pushes=_sorted(_pushes(80, chance, chance.choice((0.0, 30.0)))),
    )


def _clock_forward(seed: int, chance: Random) -> Plan:
    """Redis' clock is put forward while attempts of deferred CDRs hang: all visibility ends at once."""
    jumps = (Fault(round(chance.uniform(16.0, 90.0), 3), "clock", detail="3600") for _ in range(3))
    faults = tuple(sorted(jumps, key=lambda fault: fault.at))
    return _slow(seed, chance).but(services=1, duration=100.0, faults=faults, patience=HOURLY)


def _clock_back(seed: int, chance: Random) -> Plan:
    """Redis' clock was far ahead when CDRs were deferred, and is put right."""
    return Plan(
        seed,
        services=2,
        duration=30.0,
        mood="flaky",
        pushes=_sorted(_pushes(30, chance, 15.0)),
        faults=(Fault(round(chance.uniform(2.0, 20.0), 3), "clock", detail="-36000"),),
        patience=HOURLY,
    )


def _taken_meanwhile(seed: int, chance: Random) -> Plan:
    """A service that died starts again just when another one is about to adopt what it had, over a slow link."""
    died = round(chance.uniform(20.0, 25.0), 3)
    returns = round(chance.uniform(14.0, 25.0), 3)
    return Plan(
        seed,
        services=2,
        settings={"WEBHOOK_CONCURRENCY": "2"},
        duration=90.0,
        redis_latency=0.4,
        mood="hanging",
        pushes=_sorted(_pushes(60, chance, 20.0)),
        faults=(Fault(died, "kill", returns, chance.randrange(2)),),
        patience=BACKOFFS,
    )


def _comes_back(seed: int, chance: Random) -> Plan:
    """A service freezes after its POSTs, another one takes its slot, and the endpoint hangs when it goes on."""
    frozen = round(chance.uniform(2.5, 4.0), 3)
    return Plan(
        seed,
        duration=70.0,
        mood="slow",
        pushes=_sorted(_pushes(20, chance, 2.0)),
        faults=(
            Fault(frozen, "replace", round(chance.uniform(22.0, 28.0), 3), 0, "freeze"),
            Fault(14.0, "mood", 40.0, 0, "hanging"),
        ),
    )


def _in_their_place(seed: int, chance: Random) -> Plan:
    """A service that has done much dies; the next one in its slot begins to count from one."""
    died = round(chance.uniform(10.0, 15.0), 3)
    return Plan(
        seed,
        services=chance.choice((1, 2)),
        duration=60.0,
        disorder=0.1,
        pushes=_sorted((*_pushes(40, chance, 10.0), *_sorted(Push(p.at + 35.0, p.number) for p in _later(chance)))),
        faults=(Fault(died, "kill", 1.0, 0),),
        packets={"cut": 0.01} if chance.random() < 0.5 else {},
    )


def _later(chance: Random) -> tuple[Push, ...]:
    return _pushes(20, chance, 15.0, first=100)


def _one_in_ten(seed: int, chance: Random) -> Plan:
    """One CDR in ten spoils every batch that it is in; the others must come through, and none of them dies."""
    number = chance.choice((40, 100, 200))
    good = _pushes(number, chance, chance.choice((0.0, 5.0)))
    bad = _pushes(number // 10, chance, 5.0, first=number, kind=SPOILER)
    return Plan(
        seed,
        services=chance.choice((1, 2)),
        endpoints=chance.choice((1, 1, 3)),
        settings={"WEBHOOK_CONCURRENCY": str(chance.choice((1, 4, 32)))}
        | batches(chance)
        | {"WEBHOOK_BATCH_SIZE": str(chance.choice((4, 16, 64)))},
        duration=10.0,
        pushes=_sorted((*good, *bad)),
        spoils=chance.choice(("400", "500")),
        good_within=240.0,
    )


def _paced_batches(seed: int, chance: Random) -> Plan:
    """As `paced`; the CDRs share batches of two, and wait for their turn all the same."""
    plan = _paced(seed, chance)
    return plan.but(settings=plan.settings | {"WEBHOOK_BATCH_SIZE": "4"})


def _stale_batches(seed: int, chance: Random) -> Plan:
    """A service is cut off from Redis for longer than its lease, while batches wait for the rate limit."""
    return Plan(
        seed,
        settings={"WEBHOOK_CONCURRENCY": "1", "WEBHOOK_RATE_LIMIT": "0.08", "WEBHOOK_BATCH_SIZE": "2"},
        duration=90.0,
        pushes=_sorted(_pushes(12, chance, 1.0)),
        faults=(Fault(round(chance.uniform(2.0, 14.0), 3), "partition", 60.0, 0, "redis"),),
    )


def _too_large(seed: int, chance: Random) -> Plan:
    """Batches are too large for the endpoint; nothing is wrong with any CDR."""
    return Plan(
        seed,
        services=chance.choice((1, 2)),
        settings=batches(chance) | {"WEBHOOK_BATCH_SIZE": "64"},
        duration=60.0,
        pushes=_sorted(_pushes(200, chance, 40.0)),
        most_bytes=chance.choice((300, 1000)),
        good_within=240.0,
    )


SCENARIOS: Final[dict[str, Callable[[int, Random], Plan]]] = {
    "refused in the middle": _refused_in_the_middle,
    "behind bad ones": _behind_bad_ones,
    "all rejected": _all_rejected,
    "given back late": _given_back_late,
    "paced": _paced,
    "dies with some in hand": _dies_with_some_in_hand,
    "clock forward": _clock_forward,
    "clock back": _clock_back,
    "taken meanwhile": _taken_meanwhile,
    "comes back": _comes_back,
    "in their place": _in_their_place,
    "one in ten": _one_in_ten,
    "too large": _too_large,
    "paced batches": _paced_batches,
    "stale batches": _stale_batches,
}
