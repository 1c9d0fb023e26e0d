"""Explore many seeds, replay one, or take a safeguard away: `python -m tests.simulation --help`."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

MOST_LINES = 400


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to explore")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--first", type=int, help="the first seed to explore; else one that was never used")
    parser.add_argument("--seed", type=int, help="replay this one, print its trace, and make it smaller if it fails")
    parser.add_argument("--theme", default="", help="what its run concentrates on; else the seed decides")
    parser.add_argument("--plan", type=Path, help="replay a plan, as --seed prints one")
    parser.add_argument("--whole", action="store_true", help="do not make a failing one smaller")
    parser.add_argument("--without", help="take this safeguard away first; `list` names them, `each` tries all")
    parser.add_argument("--seeds", type=int, help="with --without: how many to try at most")
    asked = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets comes from it
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    if asked.without == "list":
        return _list()
    if asked.without == "each":
        return _each(asked)
    if asked.without:
        from tests.simulation.ablation import apply
        from tests.simulation.safeguards import ABLATIONS

        ablation = next(one for one in ABLATIONS if one.name == asked.without)
        apply(ablation)
        if asked.seed is None and asked.plan is None:
            return _until_found(ablation.name, asked.theme or ablation.theme, asked.seeds or ablation.seeds)
    if asked.seed is not None or asked.plan is not None:
        return _replay(asked)
    return _explore(asked)


def _explore(asked: argparse.Namespace) -> int:
    from tests.simulation.explore import explore

    first = asked.first if asked.first is not None else int(time.time() * 1000) % 10**12
    print(f"seeds from {first}", flush=True)
    summary = explore(first, asked.minutes * 60, asked.jobs)
    print("\n".join(summary.lines()))
    return 1 if summary.findings else 0


def _replay(asked: argparse.Namespace) -> int:
    from tests.simulation.explore import run_guarded
    from tests.simulation.plan import Plan, plan_of
    from tests.simulation.shrink import shrunk

    plan = Plan.from_json(asked.plan.read_text()) if asked.plan else plan_of(asked.seed, asked.theme)
    result = run_guarded(plan)
    if result.law and not asked.whole:
        print(f"{result.law}: made smaller …", file=sys.stderr)
        result = shrunk(result, run_guarded)
    lines = list(result.trace.lines())
    print(*lines[-MOST_LINES:], sep="\n")
    print(f"plan: {result.plan.to_json()}")
    print(f"{result.steps} steps, {result.seconds:.3f} virtual seconds, trace {result.digest}")
    print(result.broken or "no law was broken")
    return 1 if result.law else 0


def _until_found(name: str, theme: str, seeds: int) -> int:
    from tests.simulation.explore import run_seeds

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


def _list() -> int:
    from tests.simulation.safeguards import ABLATIONS

    for one in ABLATIONS:
        print(f"{one.name:<28} {one.without}")
    return 0


def _each(asked: argparse.Namespace) -> int:
    from tests.simulation.safeguards import ABLATIONS

    missed = 0
    for one in ABLATIONS:
        command = [sys.executable, "-m", "tests.simulation", "--without", one.name]
        if asked.seeds:
            command += ["--seeds", str(asked.seeds)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        print((ended.stdout or ended.stderr).strip().rpartition("\n")[2], flush=True)
        missed += ended.returncode != 0
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
