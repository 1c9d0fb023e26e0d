"""Explore many seeds, replay one, or take a safeguard away: `python -m tests.simulation --help`."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.simulation.ablation import Ablation, apply, is_missed_by_its_test
from tests.simulation.safeguards import ABLATIONS, RARE

A_FEW: Final = 5


def main() -> int:
    asked = _arguments()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets comes from it
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    match asked.without:
        case "list":
            return _list()
        case "each":
            return _each(asked, ABLATIONS)
        case "turn":
            return _each(asked, _whose_turn_it_is())
        case str():
            ablation = next(one for one in ABLATIONS if one.name == asked.without)
            if ablation.held_by:
                return _without_tested(ablation)
            apply(ablation)
    from tests.simulation.command import carry_out  # noqa: PLC0415 - it imports what a safeguard is taken out of

    return carry_out(asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to explore")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--first", type=int, help="the first seed to explore; else one that was never used")
    parser.add_argument("--seed", type=int, help="replay this one, print its trace, and make it smaller if it fails")
    parser.add_argument("--theme", default="", help="what runs concentrate on; else their seeds decide")
    parser.add_argument("--plan", type=Path, help="replay a plan, as --seed prints one")
    parser.add_argument("--whole", action="store_true", help="do not make a failing one smaller")
    parser.add_argument(
        "--without", help="take this safeguard away first; `list` names them, `each` tries all, `turn` a few"
    )
    parser.add_argument("--seeds", type=int, help="with --without: how many to try at most")
    return parser.parse_args()


def _list() -> int:
    for one in ABLATIONS:
        print(f"{one.name:<32} {one.without}" + (f"; held by {one.held_by}" if one.held_by else ""))
    return 0


def _without_tested(ablation: Ablation) -> int:
    found = is_missed_by_its_test(ablation)
    print(f"without {ablation.name}: {'found' if found else 'not found'} by {ablation.held_by}", flush=True)
    return 0 if found else 1


def _whose_turn_it_is() -> list[Ablation]:
    """Return a few that do not take long, others every day."""
    quick = [one for one in ABLATIONS if one.seeds < RARE]
    day = int(time.time() // 86400)
    return [quick[(day * A_FEW + number) % len(quick)] for number in range(A_FEW)]


def _each(asked: argparse.Namespace, ablations: Sequence[Ablation]) -> int:
    """Try them one by one, each in an interpreter of its own; print a line for each."""
    missed = 0
    for one in ablations:
        command = [sys.executable, "-m", "tests.simulation", "--without", one.name]
        if asked.seeds:
            command += ["--seeds", str(asked.seeds)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        print((ended.stdout or ended.stderr).strip().rpartition("\n")[2], flush=True)
        missed += ended.returncode != 0
    print(f"{len(ablations) - missed} of {len(ablations)} safeguards are missed when they are gone")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
