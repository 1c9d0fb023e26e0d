"""What an operator types, by way of the functions behind the commands."""

import io
from collections.abc import Awaitable, Callable
from typing import Final

from app.cli.dead_letters import drop_letters, replay_letters
from app.cli.inject import Injection
from app.cli.operation import Sources, linked
from app.cli.reroute import reroute
from app.config.settings import Settings
from app.dead_letters.selection import Selection
from app.errors import ForwarderError

FAST: Final = 200.0
"""Replays a second, at most."""


async def replay(sources: Sources, _: str) -> None:
    await replay_letters(sources, selection=Selection(), endpoint=None, to=None, rate=FAST)


async def drop(sources: Sources, _: str) -> None:
    await drop_letters(sources, selection=Selection(limit=1), endpoint=None, ask=None)


async def inject_lines(sources: Sources, lines: str) -> None:
    await sources.each(lambda link: Injection(link).run(io.BytesIO(lines.encode()), 1))


async def reroute_to(sources: Sources, way: str) -> None:
    old, new = way.split()
    await reroute(sources, old, new)


COMMANDS: Final[dict[str, Callable[[Sources, str], Awaitable[None]]]] = {
    "replay": replay,
    "drop": drop,
    "inject": inject_lines,
    "reroute": reroute_to,
}


async def carry_out(name: str, settings: Settings, argument: str) -> str:
    """Carry out one command; return what went wrong, if something did."""
    try:
        async with linked(settings) as sources:
            await COMMANDS[name](sources, argument)
    except ForwarderError as error:
        return str(error)
    return ""
