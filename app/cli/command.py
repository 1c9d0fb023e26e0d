"""Begin a command with the configuration, and end it with an exit status.

What a command needs is imported when it runs: `version`, help and completion answer at once.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

from app.errors import ConfigurationError, ForwarderError, UsageError
from app.telemetry.printable import plain

if TYPE_CHECKING:
    from app.cli.operation import Sources
    from app.config.settings import Settings

FAILED: Final = 1
BAD_CONFIGURATION: Final = 2
"""As the status of a wrong option, which click has chosen."""


def settings_or_exit() -> "Settings":
    from app.config.environment import load_settings

    with refusing():
        return load_settings()


@contextmanager
def refusing() -> Iterator[None]:
    """Turn any failure into a sentence and exit status 1; of a bad configuration or option, 2."""
    try:
        yield
    except ForwarderError as error:
        for line in str(error).split("\n"):
            typer.echo(plain(line), err=True)
        is_typed_wrong = isinstance(error, ConfigurationError | UsageError)
        raise typer.Exit(BAD_CONFIGURATION if is_typed_wrong else FAILED) from None


def operate(work: Callable[["Sources"], Awaitable[None]], *, source: str | None = None) -> None:
    """Run a command that needs Redis. `source`: the only one that it is about; None: all."""
    import asyncio

    from app.telemetry import log

    log.keep_silent()
    settings = settings_or_exit()
    with refusing():
        asyncio.run(_linked(work, settings, source))


async def _linked(work: Callable[["Sources"], Awaitable[None]], settings: "Settings", source: str | None) -> None:
    from app.cli.operation import linked

    async with linked(settings) as sources:
        sources.choose(source)
        await work(sources)
