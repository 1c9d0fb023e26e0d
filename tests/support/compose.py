"""What Docker Compose gives to the forwarder of docker-compose.yml; the daemon is not needed to tell."""

import io
import re
from collections.abc import Mapping
from typing import Any, Final

from dotenv import dotenv_values

from tests.support.repository import COMPOSE

FORWARDER: Final[dict[str, Any]] = COMPOSE["services"]["forwarder"]
WITH_DEFAULT: Final = re.compile(r"\$\{(?P<name>\w+)-(?P<default>[^}]*)\}")


def given_by_compose(dotenv: str = "", shell: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of the container, by the .env file beside docker-compose.yml and the shell of its user.

    `environment` stands above `env_file`. A variable without a value comes from the shell or from .env, or is not set.
    """
    [file] = FORWARDER["env_file"]
    assert file == {"path": ".env", "required": False}
    from_file = {name: value or "" for name, value in dotenv_values(stream=io.StringIO(dotenv)).items()}
    known = from_file | dict(shell or {})
    given = dict(from_file)
    for name, value in FORWARDER["environment"].items():
        if value is None:
            given |= {name: known[name]} if name in known else {}
        else:
            given[name] = WITH_DEFAULT.sub(lambda match: known.get(match["name"], match["default"]), value)
    return given
