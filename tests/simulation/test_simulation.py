"""The simulator itself: it replays exactly, runs whole services, and finds what is taken away."""

import gc
import os
import subprocess
import sys
import time

import pytest

from tests.simulation.ablation import Ablation, check
from tests.simulation.faults import BEGIN
from tests.simulation.plan import (
    BINARY,
    DEFERRED,
    EMPTY,
    GOOD,
    LARGE,
    PACKETS,
    POISON,
    SPOILER,
    TWIN,
    Fault,
    Plan,
    Push,
)
from tests.simulation.safeguards import ABLATIONS
from tests.simulation.scenarios import plan_of
from tests.simulation.world import run

CALM = Plan(1, services=2, duration=10.0, pushes=tuple(Push(number / 10, number) for number in range(20)))


def test_a_calm_run_delivers_each_cdr_once() -> None:
    """Without faults there is exactly one request for each CDR."""
    result = run(CALM)

    assert result.broken == ""
    assert result.requests == 20


@pytest.mark.parametrize("seed", [3, 7, 11])
def test_a_seed_replays_exactly(seed: int) -> None:
    """The same seed twice tells the same story, step by step."""
    first, second = run(plan_of(seed)), run(plan_of(seed))

    assert (first.digest, first.steps, first.seconds) == (second.digest, second.steps, second.seconds)


def test_a_seed_replays_exactly_in_another_interpreter() -> None:
    """The story does not depend on addresses, nor on what ran before."""
    told = [_replayed(5) for _ in range(2)]

    assert told[0] == told[1]


def _replayed(seed: int) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--whole"]
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(command, env=inherited, capture_output=True, text=True, check=False).stdout


def test_a_plan_survives_json() -> None:
    """What --seed prints can be replayed with --plan."""
    plan = plan_of(12)

    assert Plan.from_json(plan.to_json()) == plan


def test_a_killed_service_is_survived() -> None:
    """What a dead process held is delivered by another one, a lease later, and nothing is lost."""
    plan = CALM.but(faults=(Fault(1.0, "kill", 3.0, 0),), duration=20.0)

    result = run(plan)

    assert result.broken == ""
    assert any("adopts" in line or "posts" in line for line in result.trace.lines())


def test_time_is_virtual() -> None:
    """A freeze of ten minutes costs nothing, and outlives every lease."""
    plan = CALM.but(faults=(Fault(0.5, "freeze", 600.0, 0),), duration=700.0)

    result = run(plan)

    assert result.broken == ""
    assert result.seconds > 700


def test_three_lanes_each_get_every_cdr() -> None:
    """With several endpoints each one gets each CDR."""
    result = run(CALM.but(endpoints=3))

    assert result.broken == ""
    assert result.requests == 60


def test_two_hundred_seeds_hold_every_kind_of_fault_and_of_cdr() -> None:
    """In a thousand, with one endpoint and with several. `--minutes` tells how often each happened and mattered."""
    plans, many = ([plan_of(seed) for seed in range(number)] for number in (200, 1000))

    faults = {fault.kind for plan in plans for fault in plan.faults}
    pairs = {(fault.kind, plan.endpoints) for plan in many for fault in plan.faults}
    operators = {fault.detail for plan in plans for fault in plan.faults if fault.kind == "operator"}
    kinds = {push.kind for plan in plans for push in plan.pushes}

    assert faults == set(BEGIN)
    assert pairs == {(kind, endpoints) for kind in BEGIN for endpoints in (1, 3)}
    assert operators == {"replay", "drop", "inject", "reroute"}
    assert kinds == {GOOD, TWIN, POISON, SPOILER, EMPTY, LARGE, BINARY, DEFERRED}
    assert {kind for plan in plans for kind in plan.packets} == set(PACKETS)


def test_clocks_and_chance_are_put_back() -> None:
    """A run leaves the interpreter as it found it."""
    before = time.monotonic, os.urandom, gc.isenabled()
    run(CALM.but(pushes=()))

    assert (time.monotonic, os.urandom, gc.isenabled()) == before


def test_poison_becomes_a_dead_letter() -> None:
    """What is rejected is a dead letter in the end, while others are delivered."""
    result = run(CALM.but(pushes=(*CALM.pushes, Push(2.0, 100, POISON))))

    assert result.broken == ""
    assert any("dead-letters poison 100" in line for line in result.trace.lines())


QUICK = ("owner check", "known: in flight", "visibility", "two rejections")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_missing_safeguard_is_found(name: str) -> None:
    """Without it, a law is broken within a few runs that find nothing with it."""
    command = [sys.executable, "-m", "tests.simulation", "--without", name, "--seeds", "20"]

    ended = subprocess.run(command, check=False, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda one: one.name)
def test_every_safeguard_is_still_there_to_be_taken_away(ablation: Ablation) -> None:
    """The text that an ablation replaces is in the code."""
    check(ablation)
