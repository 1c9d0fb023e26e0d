"""Begin a command with the configuration, and end it with an exit status.

What a command needs is imported when it runs: `version`, help and completion answer at once.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

from app.errors import ConfigurationError, ForwarderError
from app.telemetry.printable import plain

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.store.client import Link

FAILED: Final = 1
BAD_CONFIGURATION: Final = 2


def settings_or_exit() -> "Settings":
    from app.config.environment import load_settings

    with refusing():
        return load_settings()


@contextmanager
def refusing() -> Iterator[None]:
    """Turn any failure into a sentence and exit status 1; of a bad configuration, 2."""
    try:
        yield
    except ForwarderError as error:
        for line in str(error).split("\n"):
            typer.echo(plain(line), err=True)
        raise typer.Exit(BAD_CONFIGURATION if isinstance(error, ConfigurationError) else FAILED) from None


def operate(work: Callable[["Link", "Settings"], Awaitable[None]]) -> None:
    """Run a command that needs Redis."""
    import asyncio

    from app.telemetry import log

    log.keep_silent()
    settings = settings_or_exit()
    with refusing():
        asyncio.run(_linked(work, settings))


async def _linked(work: Callable[["Link", "Settings"], Awaitable[None]], settings: "Settings") -> None:
    from app.cli.operation import linked

    async with linked(settings) as link:
        await work(link, settings)
