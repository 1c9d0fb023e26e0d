"""What CONTRIBUTING.md and ARCHITECTURE.md name is there."""

import re
from importlib.util import find_spec
from typing import Final

import pytest

from tests.support.repository import APP, ROOT

CONTRIBUTING: Final = (ROOT / "CONTRIBUTING.md").read_text()
ARCHITECTURE: Final = (ROOT / "ARCHITECTURE.md").read_text()
PATH: Final = re.compile(r"`([\w./-]+(?:/|\.(?:py|md|lua|toml)))(?:`|, `)")


@pytest.mark.parametrize("path", sorted(set(PATH.findall(CONTRIBUTING + ARCHITECTURE))))
def test_each_path_is_there(path: str) -> None:
    """From the top, within the tests, or within the code: as readers take them."""
    places = [ROOT, APP, ROOT / "tests", *(APP / "store" / "scripts", ROOT / "tests" / "support")]
    places += [ROOT / "tests" / "simulation", ROOT / "tests" / "unit", APP / "config", APP / "telemetry"]
    assert any((place / path).exists() for place in places)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ((?:app|tests)[\w.]*)", CONTRIBUTING))))
def test_each_program_is_there(module: str) -> None:
    """Those that are run with `python -m`."""
    assert find_spec(module) is not None


def test_every_folder_of_tests_is_told() -> None:
    """So that nobody has to guess where a test belongs."""
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert folders <= set(re.findall(r"`(\w+)/`", CONTRIBUTING))
