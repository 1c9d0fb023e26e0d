"""What counts as healthy, for a container that can only ask for an exit status."""

from contextlib import suppress

from app.errors import ForwarderError
from app.link import Link
from app.ownership import new_process_id, runs_here
from app.settings import Settings


async def is_healthy(settings: Settings) -> bool:
    """Tell whether a process of this host has a live lease.

    Only a running event loop that reaches Redis renews one, so a stuck process is unhealthy when its lease ends.
    """
    link = Link(settings, new_process_id())
    owners: list[bytes | None] = []
    with suppress(ForwarderError):
        keys = [slot.owner for slot in settings.slots()]
        owners = await link.call("owners", lambda: link.commands.mget(keys))
    await link.aclose()
    return any(map(runs_here, owners))
