"""Hold the Lua scripts: the only place from which their text is read."""

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
    """A script and the SHA-1 under which Redis knows it."""

    name: str
    text: str
    sha: str


@cache
def script(*names: str) -> Script:
    """Return one script made of files that stand one behind the other; it is called by the last one's name."""
    text = "\n".join(files("app.store").joinpath("scripts", f"{name}.lua").read_text() for name in names)
    return Script(names[-1], text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
