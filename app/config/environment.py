"""How the variables are read, and what is said of those that cannot work."""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from app.config.endpoint import NEVER_INHERITED, EndpointSettings
from app.config.settings import PREFIX, Settings
from app.config.values import redacted
from app.errors import ConfigurationError

KUBERNETES: Final = "CDR_FORWARDER_"
"""Kubernetes injects variables of this prefix into every pod where a Service has our name."""


ENDPOINT: Final = re.compile(r"CDR_ENDPOINTS__(?P<name>[A-Za-z0-9_-]+?)__(?P<field>[A-Za-z][A-Za-z_]*)")


class _Given(EnvSettingsSource):
    """Variables from a mapping in place of the environment."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        # What is a field of an endpoint is nested; `endpoints` itself is what both ways to name them lead to.
        self._given = {
            re.sub(
                "^cdr_endpoints__", "cdr_named_endpoints__", re.sub("^cdr_webhook_", "cdr_webhook__", name.lower())
            ): value
            for name, value in variables.items()
        }
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given


def variable_names(endpoints: Iterable[str] = ()) -> dict[str, bool]:
    """Return every variable, and whether it is secret; a secret one can also be given as <NAME>_FILE.

    Those of CDR_ENDPOINTS__<name>__ are among them for each of `endpoints`.
    """
    names = {
        f"{PREFIX}{field.upper()}": "SecretStr" in repr(info.annotation)
        for field, info in Settings.model_fields.items()
        if "EndpointSettings" not in repr(info.annotation)
    }
    for before in ("WEBHOOK_", *(f"ENDPOINTS__{endpoint}__" for endpoint in endpoints)):
        for field, info in EndpointSettings.model_fields.items():
            if field != "name":
                names[f"{PREFIX}{before}{field.upper()}"] = "SecretStr" in repr(info.annotation)
    return names


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Read the environment, and below it the .env file. Raises ConfigurationError with every problem, one line each."""
    problems: list[str] = []
    below = _dotenv(dotenv, problems) if dotenv else {}
    given = _ours(below) | _ours(os.environ if environ is None else environ)
    variables = _with_files(given, problems)
    inherited = _inherited(variables, problems)
    try:
        settings = Settings(**_Given(inherited)())
    except ValidationError as error:
        problems += [_problem(details, variables, inherited) for details in error.errors(include_url=False)]
    if problems:
        raise ConfigurationError(*dict.fromkeys(problems))
    return settings


def _endpoints_in(variables: Iterable[str]) -> list[str]:
    """Return the endpoints that are named, as they are written."""
    found = (ENDPOINT.fullmatch(name) for name in variables)
    return list(dict.fromkeys(match["name"] for match in found if match))


def _inherited(variables: dict[str, str], problems: list[str]) -> dict[str, str]:
    """Give named endpoints what CDR_WEBHOOK_<X> says for all, and say what is never inherited."""
    endpoints = _endpoints_in(variables)
    shared = {name: value for name, value in variables.items() if name.startswith(f"{PREFIX}WEBHOOK_")}
    if not endpoints:
        if not shared:
            problems.append("CDR_WEBHOOK_URL: got (not set); must be set, or CDR_ENDPOINTS__<name>__URL")
        return variables
    for name in shared:
        field = name.removeprefix(f"{PREFIX}WEBHOOK_")
        if field.lower() in NEVER_INHERITED:
            problems.append(
                f"{name}: must not stand together with CDR_ENDPOINTS__…, which never inherit it; "
                f"set {PREFIX}ENDPOINTS__{endpoints[0]}__{field}"
            )
    defaults = {
        f"{PREFIX}ENDPOINTS__{endpoint}__{name.removeprefix(f'{PREFIX}WEBHOOK_')}": value
        for endpoint in endpoints
        for name, value in shared.items()
    }
    return defaults | {name: value for name, value in variables.items() if name not in shared}


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
    names = variable_names(_endpoints_in(given))
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


def _problem(details: Any, variables: Mapping[str, str], inherited: Mapping[str, str]) -> str:
    """Return one line: the variable, what it got, what it wants."""
    name = _variable_at(details["loc"], variables, inherited)
    wants = details["msg"].removeprefix("Value error, ")
    if details["type"] == "missing":
        wants = "must be set"
    return f"{name}: got {_shown(name, variables.get(name))}; {wants[0].lower()}{wants[1:]}"


def _variable_at(loc: Sequence[str | int], variables: Mapping[str, str], inherited: Mapping[str, str]) -> str:
    """Return the variable that a field was read from, or should have been."""
    match [str(part).upper() for part in loc]:
        case ["NAMED_ENDPOINTS", endpoint, "[KEY]", *_]:
            return f"{PREFIX}ENDPOINTS__{endpoint}__URL"
        case ["NAMED_ENDPOINTS", endpoint, field, *_]:
            own = f"{PREFIX}ENDPOINTS__{endpoint}__{field}"
            written = {name.upper(): name for name in inherited}.get(own, own)
            return written if written in variables or written not in inherited else f"{PREFIX}WEBHOOK_{field}"
        case ["WEBHOOK"]:
            return f"{PREFIX}WEBHOOK_URL"
        case ["WEBHOOK", field, *_]:
            return f"{PREFIX}WEBHOOK_{field}"
        case [field, *_]:
            return f"{PREFIX}{field}"
    raise AssertionError(loc)


def _shown(name: str, value: str | None) -> str:
    if value is None:
        return "(not set)"
    if not variable_names(_endpoints_in([name])).get(name):
        return repr(value)
    return redacted(value) if name.endswith(("_URL", "_PROXY")) else "***"
