"""Print the JSON Schema of all variables: python -m app.config.schema .env.example >deploy/settings.schema.json."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from app.config.endpoint import EndpointSettings
from app.config.environment import KUBERNETES, variable_names
from app.config.settings import PREFIX, Settings
from app.config.source import SourceSettings

Schema = dict[str, Any]

A_SOURCE: Final = "SOURCES__<name>__"
NAME: Final = "[A-Za-z0-9_-]{1,32}?"
BOOLEANS: Final = [True, False, "true", "false", "1", "0", "yes", "no", "on", "off"]
NUMBERS: Final = {"integer": "[0-9]+", "number": r"[0-9]+(\.[0-9]+)?"}
LIMITS: Final = ("minimum", "exclusiveMinimum", "maximum")
LISTS: Final = {"REJECT_STATUSES": r"\s*4[0-9]{2}\s*(,\s*4[0-9]{2}\s*)*"}


def settings_schema(example: str) -> Schema:
    """Return the schema of an object of variables; `example` is the text of .env.example, which describes them.

    Values may be strings, as in an environment, or numbers and booleans, as in YAML. An empty one counts as not set.
    """
    texts = _described(example)
    properties = _variables(PREFIX, Settings.model_json_schema(), texts)
    properties |= _variables(f"{PREFIX}WEBHOOK_", EndpointSettings.model_json_schema(), texts)
    named = _by_name(f"{PREFIX}WEBHOOK_", f"{PREFIX}ENDPOINTS__{NAME}__", properties)
    sources = _variables(f"{PREFIX}{A_SOURCE}", SourceSettings.model_json_schema(), texts)
    named |= _by_name(f"{PREFIX}{A_SOURCE}", f"{PREFIX}SOURCES__{NAME}__", sources)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Environment variables of cdr-forwarder",
        "type": "object",
        "properties": dict(sorted(properties.items())),
        "patternProperties": {f"^(?!{PREFIX})|^{KUBERNETES}": {}} | named,
        "additionalProperties": False,
        "anyOf": [
            {"required": [f"{PREFIX}WEBHOOK_URL"]},
            {"required": [f"{PREFIX}WEBHOOK_URL_FILE"]},
            {"not": {"propertyNames": {"not": {"pattern": f"^{PREFIX}ENDPOINTS__{NAME}__URL(_FILE)?$"}}}},
        ],
    }


def _by_name(before: str, pattern: str, properties: Schema) -> Schema:
    """Return the patterns of variables that have the name of an endpoint or a source in them."""
    return {
        f"^{pattern}{name.removeprefix(before)}$": {key: value for key, value in schema.items() if key != "default"}
        for name, schema in properties.items()
        if name.startswith(before)
    }


def _variables(prefix: str, model: Schema, texts: dict[str, str]) -> Schema:
    """Return the variables of a model. A secret has a second one, for a file."""
    found = {}
    known = variable_names(sources=["<name>"])
    for field, schema in model["properties"].items():
        name = f"{prefix}{field.upper()}"
        if name in known:
            found[name] = {"description": texts[name]} | _of_variable(name, schema, secret=known[name])
        if known.get(name):
            found[f"{name}_FILE"] = {"description": f"Path of a file that holds {name}.", "type": "string"}
    return found


def _of_variable(name: str, field: Schema, *, secret: bool) -> Schema:
    """Return what a variable may hold, from what its field may hold."""
    schema = {**field, **next((one for one in field.get("anyOf", []) if one.get("type") != "null"), {})}
    limits = {name: schema[name] for name in LIMITS if name in schema}
    default = _default(schema)
    kind = schema.get("type")
    if kind in NUMBERS:
        return {"type": [kind, "string"], "pattern": _or_empty(NUMBERS[kind])} | limits | default
    if kind == "boolean":
        return {"enum": [*BOOLEANS, ""]} | default
    if "enum" in schema:
        return {"enum": [*schema["enum"], ""]} | default
    hidden = {"writeOnly": True} if secret else {}
    return {"type": "string"} | _pattern(name, schema) | hidden | default


def _pattern(name: str, schema: Schema) -> Schema:
    for end, pattern in LISTS.items():
        if name.endswith(end):
            return {"pattern": _or_empty(pattern)}
    if "pattern" in schema:
        return {"pattern": _or_empty(schema["pattern"].strip("^$"))}
    shortest = schema.get("minLength", 0)
    return {"pattern": _or_empty(f".{{{shortest},}}")} if shortest > 1 else {}


def _default(schema: Schema) -> Schema:
    """Return the default as a person writes it: a list with commas, and a URL that pydantic masks in the open."""
    match schema.get("default"):
        case None | [] | {}:
            return {}
        case list(several):
            return {"default": ",".join(map(str, sorted(several)))}
        case "**********":
            return {"default": Settings.model_fields["redis_url"].default.get_secret_value()}
        case one:
            return {"default": one}


def _or_empty(pattern: str) -> str:
    return f"^({pattern})?$"


def _described(example: str) -> dict[str, str]:
    """Return the comment above each variable; one comment may be for several."""
    texts, comment, is_new = {}, "", True
    for line in example.splitlines():
        variable = re.fullmatch(r"(?:# )?(CDR_(?:SOURCES__<name>__)?[A-Z0-9_]+)=.*", line)
        if variable:
            texts[variable[1]], is_new = re.sub(r" \[secret[^]]*\]", "", comment), True
        elif line.startswith("# ") and not line.startswith("# -"):
            comment, is_new = line[2:] if is_new else f"{comment} {line[2:]}", False
    return texts


if __name__ == "__main__":
    schema = settings_schema(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(f"{json.dumps(schema, indent=2, ensure_ascii=False)}\n")
