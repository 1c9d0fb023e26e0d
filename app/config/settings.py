"""Define every variable that does not belong to an endpoint: its name, its default, and what it accepts."""

import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.config.endpoint import EndpointSettings
from app.config.hosts import host_name, is_loopback
from app.config.notice import SigningSecrets, notice_endpoint
from app.config.paths import field_paths
from app.config.redis_login import RedisLogin
from app.config.redis_url import place_of
from app.config.source import DEFAULT_SOURCE, End, Source, SourceSettings, not_ours, with_a_slot
from app.config.values import (
    DAY,
    File,
    Seconds,
    endpoint_name,
    header_value,
    http_url,
    one_line,
    source_name,
    url_of_redis,
)

PREFIX: Final = "CDR_"
TEN_YEARS: Final = 3650 * DAY

Age = Annotated[float, Field(ge=0, le=TEN_YEARS, allow_inf_nan=False)]
EndpointName = Annotated[str, AfterValidator(endpoint_name)]
SourceName = Annotated[str, AfterValidator(source_name)]

LogFormat = Literal["json", "console"]


def default_log_format() -> LogFormat:
    """Return the format for people on a terminal, else JSON. `sys.stderr` is None if descriptor 2 is closed."""
    return "console" if sys.stderr and sys.stderr.isatty() else "json"


class Settings(BaseSettings):
    """Holds everything that is configured. Durations are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", enable_decoding=False, frozen=True, hide_input_in_errors=True
    )

    redis_url: Annotated[SecretStr, AfterValidator(url_of_redis)] = SecretStr("redis://localhost:6379/0")
    redis_username: Annotated[str, AfterValidator(one_line)] | None = None
    redis_password: Annotated[SecretStr, AfterValidator(one_line)] | None = None
    redis_sentinel_password: Annotated[SecretStr, AfterValidator(one_line)] | None = None
    integrator: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")] = "cdr-forwarder"
    source_key: Annotated[str, Field(min_length=1)] = "enigma:notifications:cdr"
    source_oldest: End = "head"
    named_sources: dict[SourceName, SourceSettings] = {}
    redis_ca_file: File | None = None
    redis_cert_file: File | None = None
    redis_key_file: File | None = None
    webhook: EndpointSettings | None = None
    named_endpoints: dict[EndpointName, EndpointSettings] = {}
    sweep_interval: Annotated[Seconds, Field(ge=0.1)] = 60
    lease: Annotated[Seconds, Field(ge=0.5, le=3600)] = 15
    give_up_after: Age = 259200
    dead_letter_max_age: Age = 0
    shutdown_grace: Annotated[float, Field(ge=0, le=DAY, allow_inf_nan=False)] = 20
    ops_host: Annotated[str, AfterValidator(host_name)] = "127.0.0.1"
    ops_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    ops_token: Annotated[SecretStr, Field(min_length=16), AfterValidator(header_value)] | None = None
    notice_url: Annotated[SecretStr, AfterValidator(http_url)] | None = None
    notice_secret: SigningSecrets = ()
    delivery_log: bool = False
    delivery_log_fields: Annotated[tuple[str, ...], BeforeValidator(field_paths)] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = Field(default_factory=default_log_format)

    @property
    def endpoints(self) -> tuple[EndpointSettings, ...]:
        return (self.webhook,) if self.webhook else tuple(self.named_endpoints.values())

    @property
    def notice_endpoint(self) -> EndpointSettings | None:
        return notice_endpoint(self.notice_url, self.notice_secret) if self.notice_url else None

    @property
    def fans_out(self) -> bool:
        """Tell whether each endpoint has lists of its own. CDR_WEBHOOK_URL alone has one lane, on the short keys."""
        return self.webhook is None

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Return the lists that are read: those that are named, or the only one."""
        if not self.named_sources:
            return (self._source(DEFAULT_SOURCE, SourceSettings(key=self.source_key, oldest=self.source_oldest)),)
        return tuple(self._source(name, own) for name, own in self.named_sources.items())

    @property
    def idle_endpoints(self) -> list[str]:
        """Return those that no source goes to."""
        reached = {endpoint.name for source in self.sources for endpoint in source.endpoints}
        return [one.name for one in self.endpoints if one.name not in reached]

    @property
    def shows_ops_token(self) -> bool:
        """Tell whether CDR_OPS_TOKEN goes over a network: the operator server has no TLS."""
        return bool(self.ops_port and self.ops_token and not is_loopback(self.ops_host))

    def _source(self, name: str, own: SourceSettings) -> Source:
        chosen = tuple(one for one in self.endpoints if not own.endpoints or one.name in own.endpoints)
        return Source(self.integrator, name, own.key, own.oldest, self._login(name, own), chosen, self.fans_out)

    def _login(self, name: str, own: SourceSettings) -> RedisLogin:
        """Return how a source reaches its Redis. Only its own URL tells a Redis of its own who we are."""
        login = RedisLogin(
            url=self.redis_url,
            username=self.redis_username,
            password=self.redis_password,
            sentinel_password=self.redis_sentinel_password,
            ca_file=self.redis_ca_file,
            cert_file=self.redis_cert_file,
            key_file=self.redis_key_file,
        )
        if not own.redis_url:
            return login
        variable = f"{PREFIX}SOURCES__{name.upper()}__REDIS_URL"
        return replace(login, url=own.redis_url, url_variable=variable, username=None, password=None)

    @field_validator("named_endpoints", mode="before")
    @classmethod
    def _know_their_names(cls, endpoints: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
        return {name: {**variables, "name": name} for name, variables in endpoints.items()}

    @field_validator("redis_username")
    @classmethod
    def _not_in_the_url_too(cls, username: str | None, info: ValidationInfo) -> str | None:
        if username and "redis_url" in info.data and _user_info(info).username:
            raise ValueError("cannot be combined with user info in CDR_REDIS_URL, which would be used instead")
        return username

    @field_validator("redis_password")
    @classmethod
    def _not_twice(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if password and "redis_url" in info.data and _user_info(info).password:
            raise ValueError("cannot be combined with a password in CDR_REDIS_URL, which would be used instead")
        return password

    @field_validator("redis_ca_file", "redis_cert_file")
    @classmethod
    def _with_tls(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file and "redis_url" in info.data and "named_sources" in info.data:
            own = [source.redis_url for source in info.data["named_sources"].values() if source.redis_url]
            if not any(url.get_secret_value().startswith("rediss") for url in (info.data["redis_url"], *own)):
                raise ValueError("needs TLS: CDR_REDIS_URL must begin with rediss")
        return file

    @field_validator("redis_key_file")
    @classmethod
    def _has_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key and "redis_cert_file" in info.data and not info.data["redis_cert_file"]:
            raise ValueError("needs CDR_REDIS_CERT_FILE too: it is the key of a client certificate")
        return key

    @field_validator("notice_secret")
    @classmethod
    def _signs_something(cls, secrets: tuple[SecretStr, ...], info: ValidationInfo) -> tuple[SecretStr, ...]:
        if secrets and "notice_url" in info.data and not info.data["notice_url"]:
            raise ValueError("needs CDR_NOTICE_URL too: it signs notices")
        return secrets

    @field_validator("source_key")
    @classmethod
    def _is_enigmas(cls, key: str, info: ValidationInfo) -> str:
        return not_ours(key, info.data["integrator"]) if "integrator" in info.data else key

    @field_validator("source_key")
    @classmethod
    def _has_a_slot(cls, key: str, info: ValidationInfo) -> str:
        return with_a_slot(key, info.data["redis_url"].get_secret_value()) if "redis_url" in info.data else key

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read only what `load_settings` was given, and not the environment."""
        return (init_settings,)


def _user_info(info: ValidationInfo) -> SplitResult:
    return urlsplit(place_of(info.data["redis_url"].get_secret_value()).url)
