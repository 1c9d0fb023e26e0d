"""Read the secrets of one who verifies signatures: a receiver, which has no other settings."""

from pathlib import Path
from typing import Final

from pydantic import SecretStr

from app.config.environment import given_variables
from app.config.secret_file import path_shown, reason, secret_in
from app.config.values import signing_key
from app.errors import ConfigurationError

VARIABLE: Final = "CDR_WEBHOOK_SECRET"


def signing_keys(secret: str | None) -> tuple[bytes, ...]:
    """Return the keys of `secret`, else of CDR_WEBHOOK_SECRET or its file; none where nothing is set.

    Several secrets are separated by spaces. Raises ConfigurationError, which never shows one.
    """
    name, text = ("--secret", secret) if secret else _set()
    try:
        return tuple(signing_key(SecretStr(one)) for one in text.split())
    except ValueError as error:
        raise ConfigurationError(f"{name}: got ***; {error}") from None


def _set() -> tuple[str, str]:
    variables = given_variables()
    if not (file := variables.get(f"{VARIABLE}_FILE")):
        return VARIABLE, variables.get(VARIABLE, "")
    try:
        return f"{VARIABLE}_FILE", secret_in(Path(file))
    except (OSError, ValueError) as error:
        shown = path_shown(file)
        raise ConfigurationError(f"{VARIABLE}_FILE: got {shown}; must be a readable file ({reason(error)})") from None
