"""Define where notices go: as an endpoint, with settings of its own."""

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, SecretStr

from app.config.endpoint import EndpointSettings
from app.config.values import signing_key, words

NOTICES: Final = "notices"
LONGEST_TRY: Final = 10.0


def _can_sign(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for secret in secrets:
        signing_key(secret)
    return secrets


SigningSecrets = Annotated[tuple[SecretStr, ...], BeforeValidator(words), AfterValidator(_can_sign)]


def notice_endpoint(url: SecretStr, secrets: tuple[SecretStr, ...]) -> EndpointSettings:
    """Return the settings of an attempt to send a notice."""
    return EndpointSettings(name=NOTICES, url=url, secret=secrets, timeout=LONGEST_TRY)
