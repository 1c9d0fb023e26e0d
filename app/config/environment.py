"""Read the variables, and report those that cannot work."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource

from app.config.endpoint import NEVER_INHERITED, EndpointSettings
from app.config.problem import Origin
from app.config.redis_login import URL_VARIABLE
from app.config.secret_file import path_shown, reason, secret_in
from app.config.settings import PREFIX, LogFormat, Settings, default_log_format
from app.config.source import SourceSettings
from app.config.source_variables import SOURCE, names_in, source_problems
from app.errors import ConfigurationError

KUBERNETES: Final = "CDR_FORWARDER_"
"""Kubernetes injects variables of this prefix into every pod where a Service has our name."""

NESTED: Final = ("webhook", "named_endpoints", "named_sources")
"""Fields of the settings that hold what more than one variable says."""

ENDPOINT: Final = re.compile(r"CDR_ENDPOINTS__(?P<name>.+?)__(?P<field>[A-Za-z][A-Za-z0-9_]*)")


class _Variables(EnvSettingsSource):
    """Reads variables from a mapping in place of the environment."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        # What is a field of an endpoint or a source is nested; `endpoints` and `sources` are what all ways lead to.
        self._given = {
            re.sub(
                "^cdr_(endpoints|sources)__", r"cdr_named_\1__", re.sub("^cdr_webhook_", "cdr_webhook__", name)
            ): value
            for name, value in ((name.lower(), value) for name, value in variables.items())
        }
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given


def variable_names(endpoints: Iterable[str] = (), sources: Iterable[str] = ()) -> dict[str, bool]:
    """Return every variable, and whether it is secret; a secret one can also be given as <NAME>_FILE.

    Those of CDR_ENDPOINTS__<name>__ and CDR_SOURCES__<name>__ are among them for each that is named.
    """
    names = _names_of(Settings, "", *NESTED) | _names_of(EndpointSettings, "WEBHOOK_", "name")
    for endpoint in endpoints:
        names |= _names_of(EndpointSettings, f"ENDPOINTS__{endpoint}__", "name")
    for source in sources:
        names |= _names_of(SourceSettings, f"SOURCES__{source}__")
    return names


def _names_of(model: type[BaseModel], before: str, *without: str) -> dict[str, bool]:
    return {
        f"{PREFIX}{before}{field.upper()}": "SecretStr" in repr(info.annotation)
        for field, info in model.model_fields.items()
        if field not in without
    }


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Read the environment, and below it the .env file. Raises ConfigurationError with every problem, one line each."""
    problems: list[str] = []
    given = _given(environ, dotenv, problems)
    variables, files = _with_files(given, problems)
    inherited = _inherited(variables, problems)
    endpoints, sources = names_in(ENDPOINT, variables), names_in(SOURCE, variables)
    problems += _of_sources(variables, endpoints)
    try:
        settings = Settings(**_Variables(inherited)())
    except ValidationError as error:
        secrets = [name for name, secret in variable_names(endpoints, sources).items() if secret]
        origin = Origin(variables, inherited, files, secrets)
        problems += map(origin.problem, error.errors(include_url=False))
    if problems:
        raise ConfigurationError(*dict.fromkeys(problems))
    return settings


def _of_sources(variables: Mapping[str, str], endpoints: Sequence[str]) -> Iterator[str]:
    fields = Settings.model_fields
    integrator = variables.get(f"{PREFIX}INTEGRATOR", fields["integrator"].default)
    url = variables.get(URL_VARIABLE, fields["redis_url"].default.get_secret_value())
    configured = [name.lower() for name in endpoints] or [EndpointSettings.model_fields["name"].default]
    return source_problems(variables, configured, integrator, url)


def log_format_of(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> LogFormat:
    """Return how to tell that the settings cannot work: the format that was asked for, if that much is right."""
    match _given(environ, dotenv, []).get(f"{PREFIX}LOG_FORMAT"):
        case "json":
            return "json"
        case "console":
            return "console"
    return default_log_format()


def given_variables() -> dict[str, str]:
    """Return our variables of the environment and of the .env file, unread."""
    return _given(None, Path(".env"), [])


def _given(environ: Mapping[str, str] | None, dotenv: Path | None, problems: list[str]) -> dict[str, str]:
    below = _dotenv(dotenv, problems) if dotenv else {}
    return _ours(below) | _ours(os.environ if environ is None else environ)


def _inherited(variables: dict[str, str], problems: list[str]) -> dict[str, str]:
    """Give named endpoints what CDR_WEBHOOK_<X> says for all, and say what is never inherited."""
    endpoints = names_in(ENDPOINT, variables)
    problems += _twice(variables)
    shared = {name: value for name, value in variables.items() if name.startswith(f"{PREFIX}WEBHOOK_")}
    if not endpoints:
        if not shared:
            problems.append("CDR_WEBHOOK_URL: got (not set); must be set, or else CDR_ENDPOINTS__<name>__URL")
        return variables
    for name in shared:
        field = name.removeprefix(f"{PREFIX}WEBHOOK_")
        if field.lower() in NEVER_INHERITED:
            problems.append(
                f"{name}: cannot be combined with CDR_ENDPOINTS__…, which never inherit it; "
                f"set {PREFIX}ENDPOINTS__{endpoints[0]}__{field}"
            )
    named = {name: value for name, value in variables.items() if name not in shared}
    defaults = {
        f"{PREFIX}ENDPOINTS__{endpoint}__{name.removeprefix(f'{PREFIX}WEBHOOK_')}": value
        for endpoint in endpoints
        for name, value in shared.items()
    }
    set_by_name = {name.upper() for name in named}
    return {name: value for name, value in defaults.items() if name.upper() not in set_by_name} | named


def _twice(variables: Iterable[str]) -> Iterator[str]:
    """Yield a problem for each variable of one endpoint or source that is set in upper and in lower case."""
    written: dict[str, str] = {}
    for name in sorted(variables):
        if (first := written.setdefault(name.upper(), name)) != name:
            yield f"{name}: cannot be combined with {first}: names do not differ by case"


def _dotenv(path: Path, problems: list[str]) -> Mapping[str, str | None]:
    try:
        return dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: must be a readable text file ({reason(error)})")
        return {}


def _ours(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Return our variables that are set; an empty one counts as not set, since compose passes those."""
    return {
        name: value
        for name, value in variables.items()
        if value and name.startswith(PREFIX) and not name.startswith(KUBERNETES)
    }


def _with_files(given: dict[str, str], problems: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Put the content of each <NAME>_FILE in the place of <NAME>, and report variables that do not exist.

    Returns the variables, and the paths of those that were read from files.
    """
    names = variable_names(names_in(ENDPOINT, given), names_in(SOURCE, given))
    files = {f"{name}_FILE": name for name, secret in names.items() if secret}
    variables = {name: value for name, value in given.items() if name in names}
    read: dict[str, str] = {}
    for name in sorted(given.keys() - names.keys()):
        if name not in files:
            nearest = difflib.get_close_matches(name, [*names, *files], n=1, cutoff=0)[0]
            problems.append(f"{name}: there is no such variable; did you mean {nearest}?")
        elif files[name] in variables:
            problems.append(f"{name}: cannot be combined with {files[name]}")
        else:
            try:
                variables[files[name]] = secret_in(Path(given[name]))
                read[files[name]] = given[name]
            except (OSError, ValueError) as error:
                problems.append(
                    f"{name}: got {path_shown(given[name])}; must be the path of a readable text file ({reason(error)})"
                )
    return variables, read
