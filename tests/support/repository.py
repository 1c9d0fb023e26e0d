"""The files of this repository that tests read, and what they say."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
APP: Final = ROOT / "app"
README: Final = (ROOT / "README.md").read_text()
EXAMPLE: Final = ROOT / ".env.example"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def documented() -> dict[str, str]:
    """Return each variable of .env.example with the default that stands there."""
    lines = re.findall(r"^(?:# )?(CDR_[A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    return dict(lines)


def acl_line() -> str:
    """Return the ACL SETUSER command of README.md."""
    [line] = re.findall(r"^ACL SETUSER .*$", README, re.MULTILINE)
    return str(line)
