"""Define the command line, and run the service."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from importlib.metadata import version as installed_version
from typing import Annotated, Final

import typer

from app.cli.command import BAD_CONFIGURATION, settings_or_exit
from app.cli.healthcheck import is_healthy
from app.cli.letters import letters
from app.cli.operate import check, inject, probe, reroute, status
from app.config.environment import load_settings, log_format_of
from app.config.settings import LogFormat, Settings
from app.errors import ConfigurationError, RedisUnusableError
from app.service import Service
from app.telemetry import log, process_events, stderr

CRASHED: Final = 1

FAREWELL: Final = 1.0
"""Seconds that the last events may take to be written."""

app = typer.Typer(
    help="Moves every call-detail record from Enigma's Redis list to your webhook, at least once, byte for byte.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(letters, name="dead-letters")
for command in (check, status, inject, reroute, probe):
    app.command()(command)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer passes the value of the option
    if wanted:
        version()
        raise typer.Exit


@app.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        run()


@app.command()
def run() -> None:
    """Forward CDRs until SIGTERM or SIGINT; configured by CDR_* environment variables. Also without a command."""
    raise typer.Exit(_exit_status())


@app.command()
def demo(
    *, quick: Annotated[bool, typer.Option(help="Take only a few seconds, without a live display.")] = False
) -> None:
    """Show it at work: a real Redis, a sample endpoint that fails for a while, and a forwarder that is killed."""
    from app.demo.demo import main as run_demo

    raise typer.Exit(run_demo(quick=quick))


@app.command()
def healthcheck() -> None:
    """Exit with 0 where a forwarder on this host owns a processing list, as Redis sees it; for containers."""
    raise typer.Exit(0 if asyncio.run(is_healthy(settings_or_exit())) else 1)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(installed_version("cdr-forwarder"))


def main() -> None:
    app()


def _exit_status() -> int:
    """Run the service and return its exit status. Whatever ends it is an event."""
    form = log_format_of()
    log.configure("info", form)
    try:
        return _run_service(load_settings())
    except ConfigurationError as error:
        _refuse(form, process_events.configuration_refused, *error.problems)
        return BAD_CONFIGURATION
    except RedisUnusableError as error:
        _refuse(form, process_events.redis_unusable, str(error))
        return BAD_CONFIGURATION
    except Exception as error:  # noqa: BLE001 - the last line of a process that dies, with its reason
        process_events.service_crashed(error)
        return CRASHED
    finally:
        stderr.flush(FAREWELL)


def _refuse(form: LogFormat, tell: Callable[[str], None], *reasons: str) -> None:
    """Tell why the service cannot start: as plain lines on a terminal, otherwise as events."""
    for reason in reasons:
        if form == "json":
            tell(reason)
        else:
            sys.stderr.write(f"{reason}\n")


def _run_service(settings: Settings) -> int:
    log.configure(settings.log_level, settings.log_format)
    if settings.trusts_any_redis:
        process_events.redis_unverified()
    status = _run(_service(settings))
    process_events.service_stopped(status)
    return status


async def _service(settings: Settings) -> int:
    return await Service(settings).run()


def _run(work: Coroutine[None, None, int]) -> int:
    """Run on uvloop where it is installed."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):
        from uvloop import new_event_loop

        loop_factory = new_event_loop

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(work)
