"""Define the variables of OAuth 2.0 client credentials (RFC 6749, 4.4), one set for each endpoint."""

from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, SecretStr, ValidationInfo, field_validator

from app.config.hosts import is_readable
from app.config.values import http_url, one_line

OTHER_WAYS: Final = {"url": "user info ", "headers": "authorization ", "username": "", "bearer_token": ""}
"""The variables that log in, too, and what in them does."""


def token_url(url: SecretStr) -> SecretStr:
    parts = urlsplit(http_url(url).get_secret_value())
    if parts.username or parts.password:
        raise ValueError("cannot have user info: set OAUTH2_CLIENT_ID and OAUTH2_CLIENT_SECRET")
    return url


class OAuth2Settings(BaseModel):
    """Holds where an endpoint's access tokens come from; without a URL, there are none."""

    oauth2_token_url: Annotated[SecretStr, AfterValidator(token_url)] | None = None
    oauth2_client_id: Annotated[str, AfterValidator(one_line)] | None = None
    oauth2_client_secret: Annotated[SecretStr, AfterValidator(one_line)] | None = None
    oauth2_scope: Annotated[str, AfterValidator(one_line)] | None = None
    oauth2_audience: Annotated[str, AfterValidator(one_line)] | None = None

    @property
    def shows_client_secret(self) -> bool:
        """Tell whether the client secret goes over a network unencrypted."""
        return bool(self.oauth2_token_url and is_readable(self.oauth2_token_url.get_secret_value()))

    @field_validator("oauth2_client_id", "oauth2_client_secret")
    @classmethod
    def _is_needed(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.data.get("oauth2_token_url"):
            raise ValueError("must be set, since OAUTH2_TOKEN_URL is")
        return value

    @field_validator("oauth2_client_id", "oauth2_client_secret", "oauth2_scope", "oauth2_audience")
    @classmethod
    def _needs_a_server(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("oauth2_token_url", "wrong") is None:
            raise ValueError("needs OAUTH2_TOKEN_URL too")
        return value

    @field_validator(*OTHER_WAYS, check_fields=False)
    @classmethod
    def _logs_in_one_way(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if info.data.get("oauth2_token_url") and value is not None and _logs_in(name, value):
            raise ValueError(
                f"{OTHER_WAYS[name]}cannot be combined with OAUTH2_TOKEN_URL, which is another way to log in"
            )
        return value


def _logs_in(name: str, value: Any) -> bool:
    if name == "url":
        parts = urlsplit(value.get_secret_value())
        return bool(parts.username or parts.password)
    return name != "headers" or "authorization" in map(str.lower, value)
