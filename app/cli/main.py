"""Define the command line. What a command needs is imported when it runs, so that help and completion are quick."""

from typing import Annotated

import typer

from app.cli.command import settings_or_exit
from app.cli.integrate import generate_secret, receive, webhook_id
from app.cli.letters import letters
from app.cli.operate import check, inject, probe, reroute, status

app = typer.Typer(
    help="Moves every call-detail record from Enigma's Redis list to your webhook, at least once, byte for byte.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


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
    from app.cli.run import run_forwarder

    raise typer.Exit(run_forwarder())


@app.command()
def demo(
    *, quick: Annotated[bool, typer.Option(help="Take only a few seconds, without a live display.")] = False
) -> None:
    """Show it at work: a real Redis, a sample endpoint that fails for a while, and a forwarder that is killed."""
    from app.demo.demo import main as run_demo

    raise typer.Exit(run_demo(quick=quick))


app.command()(status)
app.command()(check)
app.add_typer(letters, name="dead-letters")
app.command()(probe)
app.command()(reroute)
app.command()(inject)
app.command()(receive)
app.command("id")(webhook_id)
app.command()(generate_secret)


@app.command()
def healthcheck() -> None:
    """Exit with 0 where a forwarder on this host owns a processing list, as Redis sees it; for containers."""
    import asyncio

    from app.cli.healthcheck import is_healthy

    raise typer.Exit(0 if asyncio.run(is_healthy(settings_or_exit())) else 1)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed_version

    typer.echo(installed_version("cdr-forwarder"))


def main() -> None:
    app()
