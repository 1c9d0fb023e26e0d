"""What a person types about a system that runs."""

from typing import Annotated

import typer

from app.command import operate
from app.link import Link
from app.settings import Settings


def inject(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON Lines: one CDR a line; - is standard input.")],
    *,
    from_line: Annotated[int, typer.Option(min=1, help="Leave out what is before this line.")] = 1,
) -> None:
    """Push CDRs that were pulled by hand from Enigma, as the newest, byte for byte."""
    from app import inject as room  # noqa: PLC0415 - rich stays out of the service's memory

    async def work(link: Link, settings: Settings) -> None:
        with room.opened(file) as opened:
            await room.inject(link, settings, opened, from_line)

    operate(work)


def reroute(
    old: Annotated[str, typer.Argument(help="An endpoint that is no longer configured.")],
    endpoint: Annotated[str, typer.Argument(help="One that is.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
) -> None:
    """Let another endpoint have what waits for one that is no longer configured."""
    from app import reroute as room  # noqa: PLC0415 - rich stays out of the service's memory

    async def work(link: Link, settings: Settings) -> None:
        await (room.rehearse_reroute if dry_run else room.reroute)(link, settings, old, endpoint)

    operate(work)
