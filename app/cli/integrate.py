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


def receive(  # noqa: PLR0913 - each is an option
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 9000,
    status: Annotated[int, typer.Option(min=200, max=599, help="The status to answer with.")] = 204,
    fail: Annotated[float, typer.Option(min=0, max=1, help="The share of requests to answer with 503.")] = 0,
    delay: Annotated[float, typer.Option(min=0, help="Seconds to wait before each answer.")] = 0,
    secret: Annotated[
        str | None, typer.Option(help="Verify with this secret. Else with CDR_WEBHOOK_SECRET, or its _FILE, if set.")
    ] = None,
    body: Annotated[bool, typer.Option(help="Print the CDRs themselves, which hold phone numbers.")] = True,
) -> None:
    """Receive CDRs, also in batches, and print them: verified, deduplicated, and refused on demand. To try with."""
    import asyncio

    from app.config.signing import signing_keys
    from app.demo.receiver import Manner, serve

    with refusing():
        manner = Manner(status, fail, delay, signing_keys(secret), body)
        asyncio.run(serve(host, port, manner))


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
