"""Every variable, once: its name, its default, and what it accepts."""

import base64
import binascii
import difflib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from app.errors import ConfigurationError

PREFIX: Final = "CDR_"
KUBERNETES: Final = "CDR_FORWARDER_"
"""Kubernetes injects variables of this prefix into every pod where a Service has our name."""

FIXED_HEADERS: Final = frozenset(
    {
        *("user-agent", "webhook-id", "webhook-timestamp", "webhook-attempt", "webhook-signature"),
        *("host", "connection", "content-length", "transfer-encoding"),
    }
)
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
RETRIED_ANYWAY: Final = frozenset({408, 425, 429})


def redacted(url: str) -> str:
    """Return the URL without user info and query, which may hold secrets."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "***"
    if not parts.netloc and parts.scheme != "unix":
        return "***"  # not a URL at all: whatever it is, it may be a secret
    return f"{parts.scheme}://{host}{parts.path}{'?***' if parts.query else ''}"


def _readable(path: Path) -> Path:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"must be a readable file ({error.strerror})") from None
    return path


def _url(*schemes: str) -> AfterValidator:
    wanted = "must be a URL: " + ", ".join(f"{scheme}://…" for scheme in schemes)

    def check(url: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(url.get_secret_value())
            located = parts.port != 0 and (parts.path if parts.scheme == "unix" else parts.hostname)
        except ValueError:
            raise ValueError(wanted) from None
        if parts.scheme not in schemes or not located:
            raise ValueError(wanted)
        return url

    return AfterValidator(check)


def _words(text: object) -> object:
    return text.split() if isinstance(text, str) else text


def _numbers(text: object) -> object:
    return [part.strip() for part in text.split(",")] if isinstance(text, str) else text


def _json(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError('must be a JSON object, as in {"x-tenant": "acme"}') from None


def signing_key(secret: SecretStr) -> bytes:
    """Return the key of a Standard Webhooks secret: base64, with or without `whsec_` before it."""
    try:
        key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("must be base64, as Standard Webhooks has it: whsec_…; several are separated by spaces")
    return key


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
File = Annotated[Path, AfterValidator(_readable)]


class EndpointSettings(BaseModel):
    """One endpoint. Durations are seconds."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, validate_default=True)

    name: str = "webhook"
    url: Annotated[SecretStr, _url("http", "https")]
    timeout: Seconds = 15
    connect_timeout: Seconds = 5
    attempts: Annotated[int, Field(ge=1)] = 5
    backoff: Seconds = 0.5
    backoff_max: Seconds = 30
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 32
    reject_statuses: Annotated[frozenset[Annotated[int, Field(ge=400, le=499)]], BeforeValidator(_numbers)] = frozenset(
        {400, 413, 415, 422}
    )
    content_type: str = "application/json"
    ca_file: File | None = None
    tls_verify: bool = True
    proxy: Annotated[SecretStr, _url("http", "https")] | None = None
    secret: Annotated[tuple[SecretStr, ...], BeforeValidator(_words)] = ()
    headers: Annotated[dict[str, SecretStr], BeforeValidator(_json)] = {}
    cert_file: File | None = None
    key_file: File | None = None
    username: str | None = None
    password: SecretStr | None = None
    bearer_token: SecretStr | None = None

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
        if longest < info.data.get("backoff", 0):
            raise ValueError("must not be less than BACKOFF")
        return longest

    @field_validator("key_file")
    @classmethod
    def _has_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key and "cert_file" in info.data and not info.data["cert_file"]:
            raise ValueError("is the key of a client certificate: set CERT_FILE too")
        return key

    @field_validator("bearer_token")
    @classmethod
    def _one_way_to_log_in(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if token and (info.data.get("username") or info.data.get("password")):
            raise ValueError("must not stand together with USERNAME or PASSWORD")
        return token


class Settings(BaseSettings):
    """Everything that is configured. Durations are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", enable_decoding=False, frozen=True, hide_input_in_errors=True
    )

    redis_url: Annotated[SecretStr, _url("redis", "rediss", "unix")] = SecretStr("redis://localhost:6379/0")
    redis_username: str | None = None
    redis_password: SecretStr | None = None
    redis_ca_file: File | None = None
    redis_cert_file: File | None = None
    redis_key_file: File | None = None
    integrator: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")] = "cdr-forwarder"
    source_key: Annotated[str, Field(min_length=1)] = "enigma:notifications:cdr"
    source_oldest: Literal["head", "tail"] = "head"
    webhook: EndpointSettings
    sweep_interval: Annotated[Seconds, Field(ge=0.1)] = 60
    lease: Annotated[Seconds, Field(ge=0.5)] = 15
    give_up_after: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 259200
    shutdown_grace: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 20
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = Field(default_factory=lambda: "console" if sys.stderr.isatty() else "json")

    @property
    def endpoints(self) -> tuple[EndpointSettings, ...]:
        return (self.webhook,)

    @field_validator("source_key")
    @classmethod
    def _is_enigmas(cls, key: str, info: ValidationInfo) -> str:
        if key.startswith(f"{info.data.get('integrator', '')}:"):
            raise ValueError("must be the list that Enigma writes, not one of ours")
        return key

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what `load_settings` was given, and no environment behind its back."""
        return (init_settings,)


class _Given(EnvSettingsSource):
    """Variables from a mapping in place of the environment."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        # CDR_WEBHOOK_<X> is a field of an endpoint, like the later CDR_ENDPOINTS__<name>__<X>.
        self._given = {
            re.sub("^cdr_webhook_", "cdr_webhook__", name.lower()): value for name, value in variables.items()
        }
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given


def variable_names() -> dict[str, bool]:
    """Return every variable, and whether it is secret; a secret one can also be given as <NAME>_FILE."""
    names = {}
    for field, info in Settings.model_fields.items():
        if info.annotation is not EndpointSettings:
            names[f"{PREFIX}{field.upper()}"] = "SecretStr" in repr(info.annotation)
    for field, info in EndpointSettings.model_fields.items():
        if field != "name":
            names[f"{PREFIX}WEBHOOK_{field.upper()}"] = "SecretStr" in repr(info.annotation)
    return names


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Read the environment, and below it the .env file. Raises ConfigurationError with every problem, one line each."""
    problems: list[str] = []
    given = _given(os.environ if environ is None else environ, dotenv)
    variables = _with_files(given, problems)
    try:
        settings = Settings(**_Given(variables)())
    except ValidationError as error:
        problems += [_problem(details, variables) for details in error.errors(include_url=False)]
    if problems:
        raise ConfigurationError(*problems)
    return settings


def _given(environ: Mapping[str, str], dotenv: Path | None) -> dict[str, str]:
    """Return our variables that are set; an empty one counts as not set, since compose passes those."""
    both = {**(dotenv_values(dotenv) if dotenv else {}), **environ}
    ours = {name: value for name, value in both.items() if name.startswith(PREFIX) and not name.startswith(KUBERNETES)}
    return {name: value for name, value in ours.items() if value}


def _with_files(given: dict[str, str], problems: list[str]) -> dict[str, str]:
    """Put what <NAME>_FILE points to in its place, and say what is not a variable of ours."""
    names = variable_names()
    files = {f"{name}_FILE": name for name, secret in names.items() if secret}
    variables = {name: value for name, value in given.items() if name in names}
    for name in given.keys() - names.keys():
        if name not in files:
            nearest = difflib.get_close_matches(name, [*names, *files], n=1, cutoff=0)[0]
            problems.append(f"{name}: there is no such variable; did you mean {nearest}?")
        elif files[name] in variables:
            problems.append(f"{name}: must not stand together with {files[name]}")
        else:
            try:
                variables[files[name]] = Path(given[name]).read_text().removesuffix("\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not text"
                problems.append(f"{name}: got {given[name]}, which cannot be read: {reason}")
    return variables


def _problem(details: Any, variables: Mapping[str, str]) -> str:
    """Return one line: the variable, what it got, what it wants."""
    field, *rest = details["loc"]
    inner = rest[0] if rest and field == "webhook" else "url" if field == "webhook" else None
    name = f"{PREFIX}{field}{'_' + inner if inner else ''}".upper()
    wants = details["msg"].removeprefix("Value error, ")
    if details["type"] == "missing":
        wants = "must be set"
    return f"{name}: got {_shown(name, variables.get(name))}; {wants[0].lower()}{wants[1:]}"


def _shown(name: str, value: str | None) -> str:
    if value is None:
        return "nothing"
    if not variable_names()[name]:
        return repr(value)
    return repr(redacted(value)) if name.endswith(("_URL", "_PROXY")) else "***"
