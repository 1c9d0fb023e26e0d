"""Every variable of an endpoint, once: its name, its default, and what it accepts."""

import re
from ipaddress import ip_address
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

from app.config.values import File, Seconds, http_url, json_object, numbers, signing_key, words

FIXED_HEADERS: Final = frozenset(
    {
        *("user-agent", "webhook-id", "webhook-timestamp", "webhook-attempt", "webhook-signature"),
        *("host", "connection", "content-length", "transfer-encoding"),
    }
)
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
NEVER_INHERITED: Final = frozenset(
    {"url", "secret", "headers", "cert_file", "key_file", "username", "password", "bearer_token"}
)
"""What lets one endpoint in must not be shown to another."""

RETRIED_ANYWAY: Final = frozenset({408, 425, 429})


class EndpointSettings(BaseModel):
    """One endpoint. Durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    name: str = "webhook"
    url: Annotated[SecretStr, AfterValidator(http_url)]
    timeout: Seconds = 15
    connect_timeout: Seconds = 5
    attempts: Annotated[int, Field(ge=1)] = 5
    backoff: Seconds = 0.5
    backoff_max: Seconds = 30
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 32
    rate_limit: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    breaker_threshold: Annotated[int, Field(ge=1)] = 10
    reject_statuses: Annotated[frozenset[Annotated[int, Field(ge=400, le=499)]], BeforeValidator(numbers)] = frozenset(
        {400, 413, 415, 422}
    )
    content_type: str = "application/json"
    ca_file: File | None = None
    tls_verify: bool = True
    proxy: Annotated[SecretStr, AfterValidator(http_url)] | None = None
    keep_alive: bool = True
    http_client: Literal["direct", "httpx"] = "direct"
    secret: Annotated[tuple[SecretStr, ...], BeforeValidator(words)] = ()
    headers: Annotated[dict[str, SecretStr], BeforeValidator(json_object)] = {}
    cert_file: File | None = None
    key_file: File | None = None
    username: str | None = None
    password: SecretStr | None = None
    bearer_token: SecretStr | None = None

    @property
    def shows_secrets(self) -> bool:
        """Tell whether what lets us in goes over a network unencrypted."""
        url = urlsplit(self.url.get_secret_value())
        secrets = self.secret or self.headers or self.password or self.bearer_token or url.password
        return bool(url.scheme == "http" and secrets and not _is_loopback(url.hostname or ""))

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
            raise ValueError(f"must not hold {wrong}: these say «not now», and never «not this one»")
        return statuses

    @field_validator("content_type", "bearer_token", mode="after")
    @classmethod
    def _fits_a_header(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
        if not HEADER_VALUE.fullmatch(text):
            raise ValueError("must have no line breaks, control or non-ASCII characters: it is sent as a header")
        return value

    @field_validator("headers")
    @classmethod
    def _may_be_sent(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not HEADER_NAME.fullmatch(name):
                raise ValueError("each name must be a header name (RFC 9110, 5.6.2)")
            if name.lower() in FIXED_HEADERS:
                raise ValueError(f"must not set {name.lower()}: that is ours")
            if not HEADER_VALUE.fullmatch(value.get_secret_value()):
                raise ValueError(f"the value of {name} must have no line breaks, control or non-ASCII characters")
        return headers

    @field_validator("backoff_max")
    @classmethod
    def _not_below_backoff(cls, longest: float, info: ValidationInfo) -> float:
        if longest < (shortest := info.data.get("backoff", 0)):
            raise ValueError(f"is {longest:g}, and must not be less than BACKOFF, {shortest:g}")
        return longest

    @field_validator("key_file")
    @classmethod
    def _has_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key and "cert_file" in info.data and not info.data["cert_file"]:
            raise ValueError("is the key of a client certificate: set CERT_FILE too")
        return key

    @field_validator("username")
    @classmethod
    def _ends_at_the_colon(cls, username: str | None) -> str | None:
        if username and ":" in username:
            raise ValueError("must have no colon: basic authentication could not tell it from the password")
        return username

    @field_validator("password")
    @classmethod
    def _belongs_to_somebody(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if password and {"url", "username"} <= info.data.keys() and not (info.data["username"] or _user(info)):
            raise ValueError("must not stand without USERNAME: it would not be sent")
        return password

    @field_validator("bearer_token")
    @classmethod
    def _one_way_to_log_in(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if token and (info.data.get("username") or info.data.get("password") or _user(info)):
            raise ValueError("must not stand together with USERNAME, PASSWORD or user info in the URL")
        return token


def _user(info: ValidationInfo) -> str | None:
    """Return who logs in by the user info of the URL."""
    return urlsplit(info.data["url"].get_secret_value()).username if "url" in info.data else None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
