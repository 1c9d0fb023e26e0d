"""Define what a source is: its name, its list, the Redis that has it, and the endpoints that it goes to."""

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from app.config.endpoint import EndpointSettings
from app.config.redis_login import RedisLogin
from app.config.redis_url import hash_tag
from app.config.values import numbers, url_of_redis

End = Literal["head", "tail"]

DEFAULT_SOURCE: Final = "cdr"
"""The name of the only source, where none is named."""

OUR_KEYS: Final = (
    r"(\{{[^}}]*\}}:)?{integrator}:(scratch|([a-z0-9_-]+:)?"
    r"(pending|processing|retry|retrying|dead|minutes|operations):[a-z0-9_-]+)(:.*)?"
)
"""Every key that we write. An integrator may be called enigma, so not every key of this prefix is ours."""


class SourceSettings(BaseModel):
    """Holds what CDR_SOURCES__<name>__<X> says. No endpoints: all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    key: Annotated[str, Field(min_length=1)]
    oldest: End = "head"
    redis_url: Annotated[SecretStr, AfterValidator(url_of_redis)] | None = None
    endpoints: Annotated[tuple[Annotated[str, AfterValidator(str.lower)], ...], BeforeValidator(numbers)] = ()


@dataclass(frozen=True)
class Source:
    """Holds all that is configured about one list that Enigma writes. `oldest`: the end that is claimed first.

    `fans_out`: whether each endpoint has lists of its own. CDR_WEBHOOK_URL alone has one lane, on the short keys.
    """

    integrator: str
    name: str
    key: str
    oldest: End
    redis: RedisLogin
    endpoints: tuple[EndpointSettings, ...]
    fans_out: bool

    @property
    def pending_oldest(self) -> End:
        """Return which end of a lane's pending list is the oldest; distribution always fills it at the tail."""
        return "head" if self.fans_out else self.oldest


def not_ours(key: str, integrator: str) -> str:
    """Refuse a key that we write ourselves."""
    if re.fullmatch(OUR_KEYS.format(integrator=re.escape(integrator)), key):
        raise ValueError("must be the list that Enigma writes, not a key of the forwarder")
    return key


def with_a_slot(key: str, redis_url: str) -> str:
    """Refuse a key whose hash tag, put before our own keys, leads to another slot of a cluster."""
    if "+cluster:" in redis_url and hash_tag(f"{{{hash_tag(key)}}}:") != hash_tag(key):
        raise ValueError("cannot be used in a cluster: its braces make no hash tag that our keys can share")
    return key
