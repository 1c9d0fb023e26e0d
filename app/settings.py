"""Every variable that is not of an endpoint, once: its name, its default, and what it accepts."""

import re
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.endpoint_settings import EndpointSettings
from app.keys import LaneKeys, Slot, all_slots
from app.values import File, Seconds, plain_redis, url_of

PREFIX: Final = "CDR_"


class Settings(BaseSettings):
    """Everything that is configured. Durations are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", enable_decoding=False, frozen=True, hide_input_in_errors=True
    )

    redis_url: Annotated[SecretStr, url_of("redis", "rediss", "unix"), AfterValidator(plain_redis)] = SecretStr(
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

    def lane_keys(self, endpoint: str) -> LaneKeys:  # noqa: ARG002 - one endpoint has the short keys
        return LaneKeys(self.integrator, self.source_key)

    def slots(self, endpoint: str | None = None) -> list[Slot]:  # noqa: ARG002 - likewise
        """Return all slots, as those of the lane of `endpoint` where one is named."""
        return all_slots(self.integrator)

    @property
    def scratch(self) -> str:
        """Prefix of the keys on which our rights are tried at start; never outlives the trial."""
        return f"{self.integrator}:scratch"

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
