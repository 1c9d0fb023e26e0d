"""Begin a command with the configuration, and end it with an exit status."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer

from app.cli.operation import linked
from app.config.environment import load_settings
from app.config.settings import Settings
from app.errors import ConfigurationError, ForwarderError
from app.store.client import Link
from app.telemetry import log

FAILED: Final = 1
BAD_CONFIGURATION: Final = 2


def settings_or_exit() -> Settings:
    try:
        return load_settings()
    except ConfigurationError as error:
        for problem in error.problems:
            typer.echo(problem, err=True)
        raise typer.Exit(BAD_CONFIGURATION) from None


@contextmanager
def refusing() -> Iterator[None]:
    """Turn any failure into a sentence and exit status 1."""
    try:
        yield
    except ForwarderError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from None


def operate(work: Callable[[Link, Settings], Awaitable[None]]) -> None:
    """Run a command that needs Redis."""
    log.keep_silent()
    settings = settings_or_exit()
    with refusing():
        asyncio.run(_linked(work, settings))


async def _linked(work: Callable[[Link, Settings], Awaitable[None]], settings: Settings) -> None:
    async with linked(settings) as link:
        await work(link, settings)
