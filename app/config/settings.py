"""Define every variable that does not belong to an endpoint: its name, its default, and what it accepts."""

import re
import sys
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.config.endpoint import EndpointSettings
from app.config.hosts import host_name, is_loopback
from app.config.paths import field_paths
from app.config.redis_url import RedisPlace, hash_tag, place_of
from app.config.values import DAY, File, Seconds, endpoint_name, header_value, one_line, redacted, url_of_redis

PREFIX: Final = "CDR_"
TEN_YEARS: Final = 3650 * DAY

Age = Annotated[float, Field(ge=0, le=TEN_YEARS, allow_inf_nan=False)]
EndpointName = Annotated[str, AfterValidator(endpoint_name)]

OUR_KEYS: Final = (
    r"(\{{[^}}]*\}}:)?{integrator}:(scratch|([a-z0-9_-]+:)?"
    r"(pending|processing|retry|retrying|dead|minutes|operations):[a-z0-9_-]+)(:.*)?"
)
"""Every key that we write. An integrator may be called enigma, so not every key of this prefix is ours."""


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
    redis_ca_file: File | None = None
    redis_cert_file: File | None = None
    redis_key_file: File | None = None
    integrator: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")] = "cdr-forwarder"
    source_key: Annotated[str, Field(min_length=1)] = "enigma:notifications:cdr"
    source_oldest: Literal["head", "tail"] = "head"
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
    delivery_log: bool = False
    delivery_log_fields: Annotated[tuple[str, ...], BeforeValidator(field_paths)] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = Field(default_factory=default_log_format)

    @property
    def endpoints(self) -> tuple[EndpointSettings, ...]:
        return (self.webhook,) if self.webhook else tuple(self.named_endpoints.values())

    @property
    def fans_out(self) -> bool:
        """Tell whether each endpoint has lists of its own. CDR_WEBHOOK_URL alone has one lane, on the short keys."""
        return self.webhook is None

    @property
    def redis_place(self) -> RedisPlace:
        return place_of(self.redis_url.get_secret_value())

    @property
    def shown_redis_url(self) -> str:
        """Return the URL without what may be secret."""
        return redacted(self.redis_url.get_secret_value())

    @property
    def trusts_any_redis(self) -> bool:
        """Tell whether the certificate of Redis, or its host name, is not verified."""
        options = urlsplit(self.redis_place.url).query.split("&")
        return bool({"ssl_cert_reqs=none", "ssl_check_hostname=false"} & set(options))

    @property
    def shows_ops_token(self) -> bool:
        """Tell whether CDR_OPS_TOKEN goes over a network: the operator server has no TLS."""
        return bool(self.ops_port and self.ops_token and not is_loopback(self.ops_host))

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
        if file and "redis_url" in info.data and not info.data["redis_url"].get_secret_value().startswith("rediss"):
            raise ValueError("needs TLS: CDR_REDIS_URL must begin with rediss")
        return file

    @field_validator("redis_key_file")
    @classmethod
    def _has_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key and "redis_cert_file" in info.data and not info.data["redis_cert_file"]:
            raise ValueError("needs CDR_REDIS_CERT_FILE too: it is the key of a client certificate")
        return key

    @field_validator("source_key")
    @classmethod
    def _is_enigmas(cls, key: str, info: ValidationInfo) -> str:
        if "integrator" in info.data and re.fullmatch(OUR_KEYS.format(integrator=info.data["integrator"]), key):
            raise ValueError("must be the list that Enigma writes, not a key of the forwarder")
        return key

    @field_validator("source_key")
    @classmethod
    def _has_a_slot(cls, key: str, info: ValidationInfo) -> str:
        """Refuse a key whose hash tag, put before our own keys, leads to another slot of a cluster."""
        in_cluster = "redis_url" in info.data and "+cluster:" in info.data["redis_url"].get_secret_value()
        if in_cluster and hash_tag(f"{{{hash_tag(key)}}}:") != hash_tag(key):
            raise ValueError("cannot be used in a cluster: its braces make no hash tag that our keys can share")
        return key

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
