"""Every variable that is not of an endpoint, once: its name, its default, and what it accepts."""

import re
import sys
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.config.endpoint import EndpointSettings
from app.config.redis_url import RedisPlace, place_of
from app.config.values import File, Seconds, url_of_redis

PREFIX: Final = "CDR_"

EndpointName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]


class Settings(BaseSettings):
    """Everything that is configured. Durations are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", enable_decoding=False, frozen=True, hide_input_in_errors=True
    )

    redis_url: Annotated[SecretStr, AfterValidator(url_of_redis)] = SecretStr("redis://localhost:6379/0")
    redis_username: str | None = None
    redis_password: SecretStr | None = None
    redis_sentinel_password: SecretStr | None = None
    redis_ca_file: File | None = None
    redis_cert_file: File | None = None
    redis_key_file: File | None = None
    integrator: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")] = "cdr-forwarder"
    source_key: Annotated[str, Field(min_length=1)] = "enigma:notifications:cdr"
    source_oldest: Literal["head", "tail"] = "head"
    webhook: EndpointSettings | None = None
    named_endpoints: dict[EndpointName, EndpointSettings] = {}
    sweep_interval: Annotated[Seconds, Field(ge=0.1)] = 60
    lease: Annotated[Seconds, Field(ge=0.5)] = 15
    give_up_after: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 259200
    dead_letter_max_age: Annotated[float, Field(ge=0, le=10 * 365 * 86400, allow_inf_nan=False)] = 0
    shutdown_grace: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 20
    ops_host: str = "0.0.0.0"  # noqa: S104 - a container is asked from outside
    ops_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    ops_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = Field(default_factory=lambda: "console" if sys.stderr.isatty() else "json")

    @property
    def endpoints(self) -> tuple[EndpointSettings, ...]:
        return (self.webhook,) if self.webhook else tuple(self.named_endpoints.values())

    @property
    def fans_out(self) -> bool:
        """Whether each endpoint has lists of its own. CDR_WEBHOOK_URL alone has one lane, on the short keys."""
        return self.webhook is None

    @property
    def redis_place(self) -> RedisPlace:
        return place_of(self.redis_url.get_secret_value())

    @property
    def pending_oldest(self) -> Literal["head", "tail"]:
        """Return which end of a lane's pending list is the oldest; distribution always fills it at the tail."""
        return "head" if self.fans_out else self.source_oldest

    @field_validator("named_endpoints", mode="before")
    @classmethod
    def _know_their_names(cls, endpoints: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
        return {name: {**variables, "name": name} for name, variables in endpoints.items()}

    @field_validator("redis_username")
    @classmethod
    def _not_in_the_url_too(cls, username: str | None, info: ValidationInfo) -> str | None:
        if username and "redis_url" in info.data and _user_info(info).username:
            raise ValueError("must not stand together with user info in CDR_REDIS_URL, which would be used instead")
        return username

    @field_validator("redis_password")
    @classmethod
    def _not_twice(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if password and "redis_url" in info.data and _user_info(info).password:
            raise ValueError("must not stand together with a password in CDR_REDIS_URL, which would be used instead")
        return password

    @field_validator("redis_ca_file", "redis_cert_file")
    @classmethod
    def _with_tls(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file and "redis_url" in info.data and not info.data["redis_url"].get_secret_value().startswith("rediss"):
            raise ValueError("is of no use without TLS: CDR_REDIS_URL must begin with rediss")
        return file

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


def _user_info(info: ValidationInfo) -> SplitResult:
    return urlsplit(place_of(info.data["redis_url"].get_secret_value()).url)
