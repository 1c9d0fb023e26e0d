"""Find the sources among the variables, and say where they do not fit together."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from app.config.redis_url import same_database
from app.config.source import not_ours, with_a_slot

SOURCE: Final = re.compile(r"CDR_SOURCES__(?P<name>.+?)__(?P<field>[A-Za-z][A-Za-z_]*)")
ONLY: Final = "CDR_SOURCE_"


def names_in(pattern: re.Pattern[str], variables: Iterable[str]) -> list[str]:
    """Return the endpoints, or sources, that variables name, as they are written."""
    found = (pattern.fullmatch(name) for name in variables)
    return list(dict.fromkeys(match["name"] for match in found if match))


def source_problems(variables: Mapping[str, str], endpoints: Sequence[str], integrator: str, url: str) -> Iterator[str]:
    """Yield what is wrong with several sources, but for what each variable says by itself.

    `endpoints`: the names of those that are configured. `url`: of the Redis of a source that names none.
    """
    names = names_in(SOURCE, variables)
    if names:
        yield from _of_both_ways(variables, names[0])
    earlier: list[tuple[str, str, str]] = []
    for name in names:
        own = f"CDR_SOURCES__{name}__"
        yield from _of_endpoints(f"{own}ENDPOINTS", variables.get(f"{own}ENDPOINTS"), endpoints)
        key, place = variables.get(f"{own}KEY"), variables.get(f"{own}REDIS_URL", url)
        if key:
            yield from _of_key(f"{own}KEY", key, place, integrator)
            yield from _of_twice(f"{own}KEY", key, place, earlier)
            earlier.append((name, key, place))


def _of_both_ways(variables: Iterable[str], first: str) -> Iterator[str]:
    for name in variables:
        if name.startswith(ONLY):
            wanted = f"CDR_SOURCES__{first}__{name.removeprefix(ONLY)}"
            yield f"{name}: cannot be combined with CDR_SOURCES__…, which name every source; set {wanted}"


def _of_endpoints(variable: str, value: str | None, configured: Sequence[str]) -> Iterator[str]:
    if value is None:
        return
    named = [name.strip().lower() for name in value.split(",")]
    unknown = [name for name in named if name not in configured]
    if not all(named):
        yield f"{variable}: got {value!r}; must be names of endpoints, separated by commas"
    elif unknown:
        there = ", ".join(configured)
        yield f"{variable}: got {value!r}; must name endpoints that there are: {there} (not {', '.join(unknown)})"
    elif twice := [name for name, number in Counter(named).items() if number > 1]:
        yield f"{variable}: got {value!r}; cannot name {', '.join(twice)} twice"


def _of_key(variable: str, key: str, url: str, integrator: str) -> Iterator[str]:
    try:
        with_a_slot(not_ours(key, integrator), url)
    except ValueError as error:
        yield f"{variable}: got {key!r}; {error}"


def _of_twice(variable: str, key: str, url: str, earlier: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    with suppress(ValueError):  # a URL that cannot be read has a line of its own
        for name, other_key, other_url in earlier:
            if key == other_key and same_database(url, other_url):
                yield (
                    f"{variable}: got {key!r}; cannot be the list of source {name} too, on the same Redis: "
                    "each CDR would reach only one of them"
                )
