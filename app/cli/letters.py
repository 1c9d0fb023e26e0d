"""Define the commands for dead letters."""

from datetime import timedelta
from typing import Annotated

import typer

from app.cli.command import operate
from app.config.settings import Settings
from app.dead_letters.selection import Selection, age_of
from app.store.client import Link

letters = typer.Typer(
    help="List, show, replay and drop CDRs that endpoints rejected, or that were given up.", no_args_is_help=True
)


def _age(text: str | None) -> timedelta | None:
    try:
        return age_of(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this webhook-id; may be given several times.")]
OneEndpoint = Annotated[str | None, typer.Option("--endpoint", help="Only this endpoint.")]
OneReason = Annotated[
    str | None, typer.Option("--reason", help="Only this: rejected, gave_up, or damaged (not a letter).")
]
OlderThan = Annotated[str | None, typer.Option(help="Only if dead for longer than this: 90s, 15m, 12h, 30d.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many, the oldest first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; print which.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


@letters.command("list")
def list_letters(  # noqa: PLR0913 - each is an option
    *,
    ids: Ids = None,
    endpoint: OneEndpoint = None,
    reason: OneReason = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List them, oldest first, without the CDRs."""
    from app.cli.dead_letters import DeadLetters

    selection = _selection(ids, reason, older_than, limit)

    async def work(link: Link, settings: Settings) -> None:
        await (await DeadLetters.of(link, settings, endpoint)).list(selection, as_json=as_json)

    operate(work)


@letters.command("show")
def show_letter(letter_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Print one with its CDR, as JSON. It holds phone numbers: be careful where you send it."""
    from app.cli.dead_letters import DeadLetters

    async def work(link: Link, settings: Settings) -> None:
        await (await DeadLetters.of(link, settings, None)).show(letter_id)

    operate(work)


@letters.command("replay")
def replay_letters(  # noqa: PLR0913 - each is an option
    *,
    ids: Ids = None,
    endpoint: OneEndpoint = None,
    reason: OneReason = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    to: Annotated[str | None, typer.Option(help="Deliver them to this endpoint in place of --endpoint.")] = None,
    rate: Annotated[float, typer.Option(min=0.001, help="Maximum per second.")] = 200,
) -> None:
    """Deliver their CDRs again, now. Without options: all of them."""
    from app.cli.dead_letters import DeadLetters

    selection = _selection(ids, reason, older_than, limit)

    async def work(link: Link, settings: Settings) -> None:
        found = await DeadLetters.to_replay(link, settings, endpoint, to)
        await (found.list(selection, as_json=False) if dry_run else found.replay(selection, rate))

    operate(work)


@letters.command("drop")
def drop_letters(  # noqa: PLR0913 - each is an option
    *,
    ids: Ids = None,
    endpoint: OneEndpoint = None,
    reason: OneReason = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    everything: Annotated[bool, typer.Option("--all", help="All of them; required if nothing else is given.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove them for good, with their CDRs."""
    from app.cli.dead_letters import DeadLetters

    selection = _selection(ids, reason, older_than, limit)
    if selection.is_everything and not (endpoint or everything):
        raise typer.BadParameter("say which: --id, --endpoint, --reason, --older-than, --limit, or --all")

    async def work(link: Link, settings: Settings) -> None:
        found = await DeadLetters.of(link, settings, endpoint)
        if dry_run:
            await found.list(selection, as_json=False)
        elif yes or typer.confirm(f"Remove {await found.count(selection)} dead letters for good?", abort=True):
            await found.drop(selection)

    operate(work)


def _selection(ids: list[str] | None, reason: str | None, older_than: str | None, limit: int | None) -> Selection:
    return Selection(frozenset(ids) if ids else None, reason, _age(older_than), limit)
