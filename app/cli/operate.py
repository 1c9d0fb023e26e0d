"""Define the commands for a running system."""

from functools import partial
from typing import Annotated

import typer

from app.cli.command import FAILED, operate, refusing, settings_or_exit


def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks, with --watch.")] = 2,
    url: Annotated[str | None, typer.Option(help="Ask one process instead: http://host:8080.")] = None,
) -> None:
    """Show what waits where, who owns it, and what fails."""
    if url:
        from app.cli.process_status import process_status

        with refusing():
            return process_status(url, as_json=as_json, every=every if watch else None)

    from app.cli import status_view as room

    show = partial(room.watch, every=every) if watch else room.status
    return operate(partial(show, as_json=as_json))


def check(
    *,
    send: Annotated[bool, typer.Option("--send", help="Also deliver one marked test CDR to each endpoint.")] = False,
    notice: Annotated[bool, typer.Option("--notice", help="Also send a test notice to CDR_NOTICE_URL.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, for programs.")] = False,
) -> None:
    """Check settings, Redis, other clients and endpoints for problems. Exit with 1 if there is one."""
    from app.cli.check import check as room

    operate(partial(room.check, send=send, notice=notice, as_json=as_json))


def inject(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON Lines: one CDR per line; - is standard input.")],
    *,
    from_line: Annotated[int, typer.Option(min=1, help="Skip what is before this line.")] = 1,
    source: Annotated[
        str | None, typer.Option(help="The source that gets them; required if there are several.")
    ] = None,
) -> None:
    """Push CDRs that were pulled by hand from Enigma, byte for byte, as the newest."""
    from app.cli import inject as room

    operate(partial(room.inject_file, name=file, from_line=from_line), source=source)


def reroute(
    old: Annotated[str, typer.Argument(help="An endpoint that is no longer configured.")],
    endpoint: Annotated[str, typer.Argument(help="The configured endpoint that gets it.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; print how many.")] = False,
    source: Annotated[str | None, typer.Option(help="Only what waits in this source.")] = None,
) -> None:
    """Move what waits for an endpoint that is no longer configured to another endpoint."""
    from app.cli import reroute as room

    operate(partial(room.rehearse_reroute if dry_run else room.reroute, old=old, new=endpoint), source=source)


def probe(
    endpoint: Annotated[str, typer.Argument(help="The endpoint that is down.")],
    *,
    url: Annotated[
        str | None, typer.Option(help="Ask this process, as in http://host:8080; else the one on this host.")
    ] = None,
) -> None:
    """Try an endpoint that is down at once, not when the next probe is due. Exit with 1 if it stays down."""
    from app.cli import probe as room

    with refusing():
        if not room.probe(settings_or_exit(), endpoint, url):
            raise typer.Exit(FAILED)
