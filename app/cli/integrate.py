"""Define the commands for whoever writes a receiver. They need no configuration, and no Redis."""

import secrets
from base64 import b64encode
from typing import Annotated, Final

import typer

from app.cdr import webhook_id as id_of
from app.cli.command import refusing
from app.cli.file import open_bytes

SECRET_BYTES: Final = 32
"""Standard Webhooks wants 24 to 64."""


def webhook_id(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="The bytes of one CDR; - is standard input.")],
) -> None:
    """Print the webhook-id under which these bytes arrive."""
    with refusing(), open_bytes(file) as opened:
        body = opened.read()
    typer.echo(id_of(body))
    if body.endswith(b"\n"):
        bare = body.removesuffix(b"\n").removesuffix(b"\r")
        typer.echo(f"without the line break at its end: {id_of(bare)}", err=True)


def generate_secret() -> None:
    """Print a new secret, for CDR_WEBHOOK_SECRET and for the receiver (Standard Webhooks)."""
    typer.echo(f"whsec_{b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}")
