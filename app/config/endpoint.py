"""Define every variable of an endpoint: its name, its default, and what it accepts."""

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from app.config.batch import BatchSettings
from app.config.headers import headers_to_send
from app.config.hosts import is_readable
from app.config.oauth2 import OAuth2Settings
from app.config.values import (
    File,
    Seconds,
    header_value,
    http_url,
    json_object,
    numbers,
    one_line,
    proxy_url,
    redacted,
    signing_key,
    words,
)

NEVER_INHERITED: Final = frozenset(
    {
        *("url", "secret", "headers", "cert_file", "key_file", "username", "password", "bearer_token"),
        *OAuth2Settings.model_fields,
    }
)
"""The credentials of one endpoint must not be shown to another."""

SLOWEST_RATE: Final = 0.001
RETRIED_ANYWAY: Final = frozenset({408, 425, 429})


class EndpointSettings(OAuth2Settings, BatchSettings, BaseModel):
    """Holds the settings of one endpoint. Durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    name: str = "webhook"
    url: Annotated[SecretStr, AfterValidator(http_url)]
    timeout: Seconds = 15
    connect_timeout: Seconds = 5
    backoff: Seconds = 0.5
    backoff_max: Seconds = 3600
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 32
    rate_limit: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0
    breaker_threshold: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    reject_statuses: Annotated[frozenset[Annotated[int, Field(ge=400, le=499)]], BeforeValidator(numbers)] = frozenset(
        {400, 413, 415, 422}
    )
    content_type: Annotated[str, AfterValidator(header_value)] = "application/json"
    ca_file: File | None = None
    tls_verify: bool = True
    proxy: Annotated[SecretStr, AfterValidator(proxy_url)] | None = None
    keep_alive: bool = True
    http_client: Literal["direct", "httpx"] = "direct"
    secret: Annotated[tuple[SecretStr, ...], BeforeValidator(words)] = ()
    headers: Annotated[dict[str, SecretStr], BeforeValidator(json_object), AfterValidator(headers_to_send)] = {}
    cert_file: File | None = None
    key_file: File | None = None
    username: Annotated[str, AfterValidator(one_line)] | None = None
    password: Annotated[SecretStr, AfterValidator(one_line)] | None = None
    bearer_token: Annotated[SecretStr, AfterValidator(header_value)] | None = None

    @property
    def shown_url(self) -> str:
        """Return the URL without what may be secret."""
        return redacted(self.url.get_secret_value())

    @property
    def batch_content_type(self) -> str:
        """Return the content type of batches: lines have one of their own, unless another one was asked for."""
        lines = self.batch_format == "ndjson" and "content_type" not in self.model_fields_set
        return "application/x-ndjson" if lines else self.content_type

    @property
    def shows_secrets(self) -> bool:
        """Tell whether secrets go over a network unencrypted."""
        url = self.url.get_secret_value()
        tokens = self.bearer_token or self.oauth2_token_url
        secrets = self.secret or self.headers or self.password or tokens or urlsplit(url).password
        return bool(secrets and is_readable(url))

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        return tuple(map(signing_key, self.secret))

    @field_validator("secret")
    @classmethod
    def _can_sign(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            signing_key(secret)
        return secrets

    @field_validator("reject_statuses")
    @classmethod
    def _rejects_for_good(cls, statuses: frozenset[int]) -> frozenset[int]:
        if wrong := sorted(statuses & RETRIED_ANYWAY):
            listed = ", ".join(map(str, wrong))
            raise ValueError(f"cannot contain {listed}: such an answer means that the CDR is to be sent again later")
        return statuses

    @field_validator("rate_limit")
    @classmethod
    def _can_be_waited_for(cls, rate: float) -> float:
        if 0 < rate < SLOWEST_RATE:
            raise ValueError(f"must be 0, which is no limit, or at least {SLOWEST_RATE:g}")
        return rate

    @field_validator("backoff_max")
    @classmethod
    def _not_below_backoff(cls, longest: float, info: ValidationInfo) -> float:
        if longest < (shortest := info.data.get("backoff", 0)):
            raise ValueError(f"is {longest:g}, and cannot be less than BACKOFF, which is {shortest:g}")
        return longest

    @field_validator("key_file")
    @classmethod
    def _has_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key and "cert_file" in info.data and not info.data["cert_file"]:
            raise ValueError("needs CERT_FILE too: it is the key of a client certificate")
        return key

    @field_validator("username")
    @classmethod
    def _ends_at_the_colon(cls, username: str | None) -> str | None:
        if username and ":" in username:
            raise ValueError("cannot contain a colon: in basic authentication, the password begins there")
        return username

    @field_validator("password")
    @classmethod
    def _belongs_to_somebody(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if password and {"url", "username"} <= info.data.keys() and not (info.data["username"] or _user(info)):
            raise ValueError("needs USERNAME too: without one, it is not sent")
        return password

    @field_validator("bearer_token")
    @classmethod
    def _one_way_to_log_in(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if token and (info.data.get("username") or info.data.get("password") or _user(info)):
            raise ValueError("cannot be combined with USERNAME, PASSWORD or user info in the URL")
        return token


def _user(info: ValidationInfo) -> str | None:
    """Return the user name in the URL."""
    return urlsplit(info.data["url"].get_secret_value()).username if "url" in info.data else None
