"""Read the Lua scripts."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

RunScript = Callable[..., Awaitable[Any]]
"""Runs one script; called with `keys=` and `args=`."""


@dataclass(frozen=True)
class Script:
    """Holds a script and the SHA-1 under which Redis knows it."""

    name: str
    text: str
    sha: str


@cache
def script(*names: str) -> Script:
    """Return one script made of these files, one after the other. Its name is that of the last one."""
    text = "\n".join(files("app.store").joinpath("scripts", f"{name}.lua").read_text() for name in names)
    return Script(names[-1], text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
