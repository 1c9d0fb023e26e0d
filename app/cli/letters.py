"""Define the commands for dead letters."""

from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.command import operate

if TYPE_CHECKING:
    from app.dead_letters.selection import Selection

letters = typer.Typer(
    help="List, show, replay and drop CDRs that endpoints rejected, or that were given up.", no_args_is_help=True
)


class Reason(Enum):
    """Names what can be asked for: `damaged` is an element that is no letter."""

    REJECTED = "rejected"
    GAVE_UP = "gave_up"
    DAMAGED = "damaged"


Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this webhook-id; may be given several times.")]
OneEndpoint = Annotated[str | None, typer.Option("--endpoint", help="Only this endpoint.")]
OneSource = Annotated[str | None, typer.Option("--source", help="Only this source.")]
OneReason = Annotated[Reason | None, typer.Option("--reason", help="Only this; damaged: what is not a letter.")]
OlderThan = Annotated[str | None, typer.Option(help="Only if dead for longer than this: 90s, 15m, 12h, 30d.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many, the oldest first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; print which.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


@letters.command("list")
def list_letters(  # noqa: PLR0913 - each is an option
    *,
    ids: Ids = None,
    endpoint: OneEndpoint = None,
    source: OneSource = None,
    reason: OneReason = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List them, oldest first, without the CDRs."""
    from app.cli import dead_letters as room

    selection = _selection(ids, reason, older_than, limit)
    operate(partial(room.list_letters, selection=selection, endpoint=endpoint, as_json=as_json), source=source)


@letters.command("show")
def show_letter(letter_id: Annotated[str, typer.Argument(metavar="ID")], *, source: OneSource = None) -> None:
    """Print one with its CDR, as JSON. It holds phone numbers: be careful where you send it."""
    from app.cli import dead_letters as room

    operate(partial(room.show_letter, letter_id=letter_id), source=source)


@letters.command("replay")
def replay_letters(  # noqa: PLR0913 - each is an option
    *,
    ids: Ids = None,
    endpoint: OneEndpoint = None,
    source: OneSource = None,
    reason: OneReason = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    to: Annotated[str | None, typer.Option(help="Deliver them to this endpoint in place of --endpoint.")] = None,
    rate: Annotated[float, typer.Option(min=0.001, help="Maximum per second.")] = 200,
) -> None:
    """Deliver their CDRs again, now. Without options: all of them."""
    from app.cli import dead_letters as room

    selection = _selection(ids, reason, older_than, limit)
    work = room.rehearse_replay if dry_run else partial(room.replay_letters, rate=rate)
    operate(partial(work, selection=selection, endpoint=endpoint, to=to), source=source)


@letters.command("drop")
def drop_letters(  # noqa: PLR0913 - each is an option
    *,
    ids: Ids = None,
    endpoint: OneEndpoint = None,
    source: OneSource = None,
    reason: OneReason = None,
    older_than: OlderThan = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    everything: Annotated[bool, typer.Option("--all", help="All of them; required if nothing else is given.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove them for good, with their CDRs."""
    from app.cli import dead_letters as room

    selection = _selection(ids, reason, older_than, limit)
    if selection.is_everything and not (endpoint or source or everything):
        raise typer.BadParameter("say which: --id, --endpoint, --source, --reason, --older-than, --limit, or --all")
    if dry_run:
        work = partial(room.list_letters, as_json=False)
    else:
        work = partial(room.drop_letters, ask=None if yes else _ask)
    operate(partial(work, selection=selection, endpoint=endpoint), source=source)


def _ask(number: int) -> None:
    typer.confirm(f"Remove {number} dead letters for good?", abort=True)


def _selection(ids: list[str] | None, reason: Reason | None, older_than: str | None, limit: int | None) -> "Selection":
    from app.dead_letters.selection import Selection, age_of

    try:
        age = age_of(older_than) if older_than else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return Selection(frozenset(ids) if ids else None, reason and reason.value, age, limit)
