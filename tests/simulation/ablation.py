"""Takes safeguards away, one at a time: the simulator must then find a broken law.

A safeguard is removed by replacing text in the file that holds it, before that file is imported or, for a script,
before the simulated Redis compiles it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Final

from tests.simulation.redis import lua

ROOT: Final = Path(__file__).parents[2]
TESTS_FAILED: Final = 1
"""What pytest ends with if a test failed, and nothing else went wrong."""


@dataclass(frozen=True)
class Edit:
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Ablation:
    """`seeds`: within so many, from 0 on, a law must be broken. `theme`: what those runs concentrate on.

    `held_by`: a test that must fail, where the simulator does not come to it, or too seldom.
    """

    name: str
    without: str
    edits: tuple[Edit, ...]
    theme: str = ""
    seeds: int = 100
    held_by: str = ""


def check(ablation: Ablation) -> None:
    """Raise ValueError where the code has changed so that there is nothing to take away."""
    for edit in ablation.edits:
        if edit.old not in (ROOT / edit.file).read_text():
            raise ValueError(f"{ablation.name}: {edit.file} has no {edit.old!r}")


def apply(ablation: Ablation) -> None:
    """Take a safeguard away, for the rest of this interpreter's life. Comes before anything of ours is imported."""
    check(ablation)
    python: dict[str, list[Edit]] = {}
    for edit in ablation.edits:
        if edit.file.endswith(".lua"):
            lua.rewrites.append((edit.old.encode(), edit.new.encode()))
        else:
            python.setdefault(edit.file.removesuffix(".py").replace("/", "."), []).append(edit)
    if early := python.keys() & sys.modules.keys():
        raise ValueError(f"{', '.join(early)} is imported already")
    sys.meta_path.insert(0, _Finder(python))


def is_missed_by_its_test(ablation: Ablation) -> bool:
    """Run the test that holds it, on a copy from which it was taken away; tell whether that test fails."""
    check(ablation)
    with TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for folder in ("app", "tests"):
            copytree(ROOT / folder, copy / folder, ignore=ignore_patterns("__pycache__"))
        copyfile(ROOT / "pyproject.toml", copy / "pyproject.toml")
        for edit in ablation.edits:
            file = copy / edit.file
            file.write_text(file.read_text().replace(edit.old, edit.new))
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", ablation.held_by]
        return subprocess.run(command, cwd=copy, check=False, capture_output=True).returncode == TESTS_FAILED


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, edits: dict[str, list[Edit]]) -> None:
        self._edits = edits

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._edits:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec
        assert spec.origin
        return importlib.util.spec_from_loader(fullname, _Loader(fullname, spec.origin, self._edits[fullname]))


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, edits: list[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        text = Path(self.path).read_text()
        for edit in self._edits:
            text = text.replace(edit.old, edit.new)
        return compile(text, self.path, "exec", dont_inherit=True)
