"""Say how one Redis is reached: its URL, and what we log in with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.config.redis_url import RedisPlace, place_of
from app.config.values import redacted

URL_VARIABLE: Final = "CDR_REDIS_URL"
UNVERIFIED: Final = frozenset({"ssl_cert_reqs=none", "ssl_check_hostname=false"})


@dataclass(frozen=True)
class RedisLogin:
    """Holds the login of one source. `url_variable`: the variable that a person is told to look at."""

    url: SecretStr
    url_variable: str = URL_VARIABLE
    username: str | None = None
    password: SecretStr | None = None
    sentinel_password: SecretStr | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def place(self) -> RedisPlace:
        return place_of(self.url.get_secret_value())

    @property
    def shown_url(self) -> str:
        """Return the URL without what may be secret."""
        return redacted(self.url.get_secret_value())

    @property
    def trusts_any(self) -> bool:
        """Tell whether the certificate of Redis, or its host name, is not verified."""
        return bool(UNVERIFIED & set(urlsplit(self.place.url).query.split("&")))

    @property
    def password_variable(self) -> str:
        """Return the variable that holds the password, or that has to."""
        is_in_url = urlsplit(self.place.url).password or self.url_variable != URL_VARIABLE
        return self.url_variable if is_in_url else "CDR_REDIS_PASSWORD"
