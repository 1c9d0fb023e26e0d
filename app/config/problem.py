"""Say in one line what is wrong with a variable."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.config.settings import PREFIX
from app.config.values import redacted

MOST_SHOWN: Final = 80
WANTED: Final = {
    "missing": "must be set",
    "bool_parsing": "must be true or false",
    "float_parsing": "must be a number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number, and not so large",
    "int_from_float": "must be a whole number",
    "dict_type": 'must be a JSON object, as in {"x-tenant": "acme"}',
    "string_type": "must be text in quotes",
    "string_pattern_mismatch": "must have 1 to 32 characters of a-z, 0-9, _ and -",
    "string_unicode": "must be UTF-8",
    "too_short": "must have at least 16 characters",
}
"""By pydantic's type of the problem; pydantic's own words do for the others."""


@dataclass(frozen=True)
class Origin:
    """Knows where the settings came from: variables as a person wrote them, and as endpoints inherit them.

    `files`: the paths of those that were read from files. `secrets`: the names of those that are secret.
    """

    variables: Mapping[str, str]
    inherited: Mapping[str, str]
    files: Mapping[str, str]
    secrets: Collection[str]

    def problem(self, details: Any) -> str:
        """Return one line: the variable, what it got, what it wants."""
        name = self._variable_at(details["loc"])
        got = self._shown(name)
        if details["loc"][-1] == "[key]":
            kind = "source" if details["loc"][0] == "named_sources" else "endpoint"
            got = f"the {kind} name {details['loc'][1]!r}"
        elif name in self.files:
            name, got = f"{name}_FILE", f"{got} in {self.files[name]!r}"
        return f"{name}: got {got}; {_wanted(details)}"

    def _variable_at(self, loc: Sequence[str | int]) -> str:
        """Return the variable that a field was read from, or should have been."""
        match [str(part).upper() for part in loc]:
            case ["NAMED_ENDPOINTS", endpoint, "[KEY]", *_]:
                return f"{PREFIX}ENDPOINTS__{endpoint}__URL"
            case ["NAMED_ENDPOINTS", endpoint, field, *_]:
                own = f"{PREFIX}ENDPOINTS__{endpoint}__{field}"
                written = {name.upper(): name for name in self.inherited}.get(own, own)
                return (
                    written
                    if written in self.variables or written not in self.inherited
                    else f"{PREFIX}WEBHOOK_{field}"
                )
            case ["NAMED_SOURCES", source, field, *_]:
                own = f"{PREFIX}SOURCES__{source}__{'KEY' if field == '[KEY]' else field}"
                return {name.upper(): name for name in self.variables}.get(own, own)
            case ["WEBHOOK"]:
                return f"{PREFIX}WEBHOOK_URL"
            case ["WEBHOOK", field, *_]:
                return f"{PREFIX}WEBHOOK_{field}"
            case [field, *_]:
                return f"{PREFIX}{field}"
        raise AssertionError(loc)

    def _shown(self, name: str) -> str:
        value = self.variables.get(name)
        if value is None:
            return "(not set)"
        if name not in self.secrets:
            return repr(value if len(value) <= MOST_SHOWN else f"{value[:MOST_SHOWN]}…")
        return redacted(value) if name.endswith(("_URL", "_PROXY")) else "***"


def _wanted(details: Any) -> str:
    """Return what the variable wants, in our words."""
    kind, text = details["type"], details["msg"]
    if kind in WANTED:
        return WANTED[kind]
    if kind == "value_error":
        text = text.removeprefix("Value error, ")
    return re.sub("^(Input|String|Value) should ", "must ", text)
