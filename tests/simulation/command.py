"""What `python -m tests.simulation` does."""

import argparse
import subprocess
import sys
import time
from typing import Final

from tests.simulation.explore import explore, run_guarded, run_seeds
from tests.simulation.plan import Plan
from tests.simulation.safeguards import ABLATIONS
from tests.simulation.scenarios import plan_of
from tests.simulation.shrink import shrunk

MOST_LINES: Final = 400


def carry_out(asked: argparse.Namespace) -> int:
    """Return the exit status: 1 where a law was broken, or where nothing was found without a safeguard."""
    if asked.seed is not None or asked.plan is not None:
        return _replay(asked)
    if asked.without:
        ablation = next(one for one in ABLATIONS if one.name == asked.without)
        return _until_found(ablation.name, asked.theme or ablation.theme, asked.seeds or ablation.seeds)
    return _explore(asked)


def _explore(asked: argparse.Namespace) -> int:
    first = asked.first if asked.first is not None else int(time.time() * 1000) % 10**12
    print(f"seeds from {first}", flush=True)
    summary = explore(first, asked.theme, asked.minutes * 60, asked.jobs)
    print("\n".join(summary.lines()))
    return 1 if summary.findings else 0


def _replay(asked: argparse.Namespace) -> int:
    plan = Plan.from_json(asked.plan.read_text()) if asked.plan else plan_of(asked.seed, asked.theme)
    result = run_guarded(plan)
    if result.law and not asked.whole:
        print(f"{result.law}: made smaller …", file=sys.stderr)
        result = shrunk(result, run_guarded)
    print(*list(result.trace.lines())[-MOST_LINES:], sep="\n")
    print(f"plan: {result.plan.to_json()}")
    print(f"{result.steps} steps, {result.seconds:.3f} virtual seconds, trace {result.digest}")
    print(result.broken or "no law was broken")
    return 1 if result.law else 0


def _until_found(name: str, theme: str, seeds: int) -> int:
    for seed in range(seeds):
        findings = run_seeds([seed], theme).findings
        if findings and _is_sound(seed, theme):
            print(f"without {name}: found by seed {seed} {theme}, {findings[0][2]}", flush=True)
            return 0
    print(f"without {name}: nothing was found in {seeds} seeds")
    return 1


def _is_sound(seed: int, theme: str) -> bool:
    """Tell whether that seed finds nothing as long as nothing is taken away."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--theme", theme, "--whole"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
