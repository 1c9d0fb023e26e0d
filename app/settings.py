"""Every variable, once: its name, its default, and what it accepts."""

import base64
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
HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
RETRIED_ANYWAY: Final = frozenset({408, 425, 429})
SHORTEST_KEY: Final = 16
NEVER_IN_A_URL: Final = re.compile(r"[\x00-\x20\x7f#]")
REDIS_OPTION: Final = re.compile(r"db=[0-9]+")
REDISS_OPTION: Final = re.compile(r"db=[0-9]+|ssl_cert_reqs=(none|optional|required)|ssl_check_hostname=(true|false)")


def redacted(url: str) -> str:
    """Return the URL without user info and query, which may hold secrets; `***` where they cannot be told apart."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        _ = parts.port
    except ValueError:
        return "***"
    # A password with a bare / ? or # ends the host too early, and its rest looks like a path.
    if "@" in parts.path + parts.query + parts.fragment or not (parts.netloc or parts.scheme == "unix"):
        return "***"
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
        if NEVER_IN_A_URL.search(url.get_secret_value()):
            raise ValueError("must have no spaces, control characters or #: in a password they are written %20, %23")
        try:
            parts = urlsplit(url.get_secret_value())
            located = parts.port != 0 and (parts.path if parts.scheme == "unix" else parts.hostname)
        except ValueError:
            raise ValueError(wanted) from None
        if parts.scheme not in schemes or not located:
            raise ValueError(wanted)
        return url

    return AfterValidator(check)


def _plain_redis(url: SecretStr) -> SecretStr:
    """Refuse what redis-py would take for something else: it ignores a bad path, and options go before our own."""
    parts = urlsplit(url.get_secret_value())
    if parts.scheme != "unix" and not re.fullmatch("/?|/[0-9]+", parts.path):
        raise ValueError("must end in the number of the database, as in redis://localhost:6379/0")
    known = REDISS_OPTION if parts.scheme == "rediss" else REDIS_OPTION
    if not all(known.fullmatch(option) for option in parts.query.split("&") if option):
        raise ValueError("must have no options but db=<number>, and with rediss:// ssl_cert_reqs, ssl_check_hostname")
    return url


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
    """Return the key of a Standard Webhooks secret: base64, with or without `whsec_` before it and `=` behind."""
    text = secret.get_secret_value().removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:  # binascii.Error is one
        key = b""
    if len(key) < SHORTEST_KEY:
        raise ValueError(
            f"must be base64 of at least {SHORTEST_KEY} bytes, as Standard Webhooks has it: whsec_…; "
            "several are separated by spaces"
        )
    return key


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
File = Annotated[Path, AfterValidator(_readable)]


class EndpointSettings(BaseModel):
    """One endpoint. Durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

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


class Settings(BaseSettings):
    """Everything that is configured. Durations are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", enable_decoding=False, frozen=True, hide_input_in_errors=True
    )

    redis_url: Annotated[SecretStr, _url("redis", "rediss", "unix"), AfterValidator(_plain_redis)] = SecretStr(
        "redis://localhost:6379/0"
    )
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

    @field_validator("redis_key_file")
    @classmethod
    def _has_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key and "redis_cert_file" in info.data and not info.data["redis_cert_file"]:
            raise ValueError("is the key of a client certificate: set CDR_REDIS_CERT_FILE too")
        return key

    @field_validator("source_key")
    @classmethod
    def _is_enigmas(cls, key: str, info: ValidationInfo) -> str:
        # Not every key of this prefix is ours: an integrator may be called enigma.
        ours = "(scratch|([a-z0-9_-]+:)?(pending|processing|failing|dead):cdr)(:.*)?"
        if "integrator" in info.data and re.fullmatch(f"{info.data['integrator']}:{ours}", key):
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
    below = _dotenv(dotenv, problems) if dotenv else {}
    variables = _with_files(_ours(below) | _ours(os.environ if environ is None else environ), problems)
    try:
        settings = Settings(**_Given(variables)())
    except ValidationError as error:
        problems += [_problem(details, variables) for details in error.errors(include_url=False)]
    if problems:
        raise ConfigurationError(*dict.fromkeys(problems))
    return settings


def _dotenv(path: Path, problems: list[str]) -> Mapping[str, str | None]:
    try:
        return dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: must be a text file that we may read ({_reason(error)})")
        return {}


def _ours(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Return our variables that are set; an empty one counts as not set, since compose passes those."""
    return {
        name: value
        for name, value in variables.items()
        if value and name.startswith(PREFIX) and not name.startswith(KUBERNETES)
    }


def _with_files(given: dict[str, str], problems: list[str]) -> dict[str, str]:
    """Put what <NAME>_FILE points to in its place, and say what is not a variable of ours."""
    names = variable_names()
    files = {f"{name}_FILE": name for name, secret in names.items() if secret}
    variables = {name: value for name, value in given.items() if name in names}
    for name in sorted(given.keys() - names.keys()):
        if name not in files:
            nearest = difflib.get_close_matches(name, [*names, *files], n=1, cutoff=0)[0]
            problems.append(f"{name}: there is no such variable; did you mean {nearest}?")
        elif files[name] in variables:
            problems.append(f"{name}: must not stand together with {files[name]}")
        else:
            try:
                variables[files[name]] = _secret_in(Path(given[name]))
            except (OSError, ValueError) as error:  # the path is masked too: by mistake it may be the secret itself
                problems.append(f"{name}: got ***; must be a text file that we may read ({_reason(error)})")
    return variables


def _secret_in(file: Path) -> str:
    secret = file.read_text(encoding="utf-8").removesuffix("\n")
    if not secret:
        raise ValueError("it is empty")
    return secret


def _reason(error: Exception) -> str:
    """Return what is wrong with a file, without any of its content."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(getattr(error, "strerror", None) or error)


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
        return "(not set)"
    if not variable_names()[name]:
        return repr(value)
    return redacted(value) if name.endswith(("_URL", "_PROXY")) else "***"
