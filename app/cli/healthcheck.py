"""Tell whether the forwarder on this host is healthy."""

from contextlib import suppress
from urllib.request import ProxyHandler, build_opener

from app.config.settings import Settings
from app.config.source import Source
from app.errors import ForwarderError
from app.store.client import COMMAND, Link
from app.store.keys import Topology
from app.store.owner import Owner

DEADLINE = 5.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - only compared with


async def is_healthy(settings: Settings) -> bool:
    """Ask the operator server of this host whether its loops run; without a server, ask Redis for a lease."""
    return _lives(settings) if settings.ops_port else await _has_lease(settings)


def _lives(settings: Settings) -> bool:
    host = EVERYWHERE.get(settings.ops_host, settings.ops_host)
    # Proxies from the environment are not used: this is our own host. An answer of 503 is an OSError too.
    with (
        suppress(OSError),
        build_opener(ProxyHandler({})).open(f"http://{host}:{settings.ops_port}/livez", timeout=DEADLINE) as answer,
    ):
        return bool(answer.status == 200)  # noqa: PLR2004 - RFC 9110
    return False


async def _has_lease(settings: Settings) -> bool:
    """Tell whether a process on this host has a lease of some source: one that is broken is no reason to start again.

    A stuck process cannot renew its lease, which then ends.
    """
    return any([await _has_lease_of(source) for source in settings.sources])


async def _has_lease_of(source: Source) -> bool:
    link = Link(source, COMMAND)
    owners: list[bytes | None] = []
    with suppress(ForwarderError):
        keys = [slot.owner for slot in Topology(source).short.slots()]
        owners = await link.call("owners", lambda: link.commands.mget(keys))
    await link.aclose()
    return any(Owner.read(owner).runs_here for owner in owners)
