"""Write and read the value of an owner key, which says who has a slot."""

import hashlib
import json
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from app.config.source import Source


@dataclass(frozen=True)
class Owner:
    """Holds the value of an owner key. `endpoints`: names, each with a fingerprint of its URL."""

    id: str = ""
    host: str = ""
    source: str = ""
    fans_out: bool = False
    endpoints: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, value: bytes | None) -> "Owner":
        """Return what an owner wrote. What cannot be read becomes empty fields."""
        with suppress(ValueError, RecursionError):
            stored = json.loads(value or b"{}")
            if isinstance(stored, dict):
                endpoints = stored.get("endpoints")
                named = endpoints.items() if isinstance(endpoints, dict) else ()
                return cls(
                    id=_text(stored, "id"),
                    host=_text(stored, "host"),
                    source=_text(stored, "source"),
                    fans_out=stored.get("fans_out") is True,
                    endpoints=tuple(sorted((name, str(fingerprint)) for name, fingerprint in named)),
                )
        return cls()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.endpoints]

    def has_lane(self, endpoint: str | None) -> bool:
        """Tell whether this process holds the lists of that lane; those on the short keys are every owner's."""
        return bool(self.id) and (endpoint is None or (self.fans_out and endpoint in self.names))

    @property
    def runs_here(self) -> bool:
        return self.host == socket.gethostname()


def new_process_id() -> str:
    """Return an id that no other process has ever had. A PID would not do: it is 1 in every container."""
    return secrets.token_hex(16)


def fingerprint(url: str) -> str:
    """Return what tells two URLs apart without showing them."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def owner_value(process_id: str, source: Source, lease_ms: int) -> bytes:
    """Return what this process writes to the owner key of its slot."""
    value = {
        "id": process_id,
        "host": socket.gethostname(),
        "source": source.key,
        "fans_out": source.fans_out,
        "endpoints": {one.name: fingerprint(one.url.get_secret_value()) for one in source.endpoints},
        "lease_ms": lease_ms,
    }
    return json.dumps(value).encode()


def _text(stored: Mapping[str, Any], name: str) -> str:
    value = stored.get(name)
    return value if isinstance(value, str) else ""
