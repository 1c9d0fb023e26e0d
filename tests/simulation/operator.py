"""What an operator types, by way of the functions behind the commands."""

import io
from collections.abc import Awaitable, Callable
from typing import Final

from app.cli.dead_letters import DeadLetters
from app.cli.inject import inject
from app.cli.operation import linked
from app.cli.reroute import reroute
from app.config.settings import Settings
from app.dead_letters.selection import Selection
from app.errors import ForwarderError
from app.store.client import Link

FAST: Final = 200.0
"""Replays a second, at most."""


async def replay(link: Link, settings: Settings, _: str) -> None:
    await (await DeadLetters.to_replay(link, settings)).replay(Selection(), FAST)


async def drop(link: Link, settings: Settings, _: str) -> None:
    await (await DeadLetters.of(link, settings)).drop(Selection(limit=1))


async def inject_lines(link: Link, settings: Settings, lines: str) -> None:
    await inject(link, settings, io.BytesIO(lines.encode()), 1)


async def reroute_to(link: Link, settings: Settings, way: str) -> None:
    old, new = way.split()
    await reroute(link, settings, old, new)


COMMANDS: Final[dict[str, Callable[[Link, Settings, str], Awaitable[None]]]] = {
    "replay": replay,
    "drop": drop,
    "inject": inject_lines,
    "reroute": reroute_to,
}


async def carry_out(name: str, settings: Settings, argument: str) -> str:
    """Carry out one command; return what went wrong, if something did."""
    try:
        async with linked(settings) as link:
            await COMMANDS[name](link, settings, argument)
    except ForwarderError as error:
        return str(error)
    return ""
