"""Find in a CDR the fields that an operator named by their paths."""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

LONGEST: Final = 256
"""Characters of a value. What is longer is cut."""

DECODER: Final = json.JSONDecoder(parse_constant=str)
"""NaN and Infinity are no JSON, but Python takes them, and would write them again."""

Field = str | int | float | bool | None


def named_fields(cdr: bytes, paths: Iterable[str]) -> dict[str, Field]:
    """Return the value at each path, None where there is none: the CDR may be of any shape, or not JSON.

    A path is names with dots between them; in an array, a number counts from 0. Objects and arrays become JSON text.
    """
    document = _parsed(cdr)
    return {path: _short(_at(document, path)) for path in paths}


def text_of(value: Field) -> str:
    """Return a value as somebody types it who searches for it."""
    return value if isinstance(value, str) else json.dumps(value)


def _parsed(cdr: bytes) -> Any:
    try:
        return DECODER.decode(cdr.decode())
    except (ValueError, RecursionError):
        return None


def _at(document: Any, path: str) -> Any:
    found = document
    for part in _parts(path):
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isascii() and part.isdecimal():
            found = found[int(part)] if int(part) < len(found) else None
        else:
            return None
    return found


@cache
def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _short(value: Any) -> Field:
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, bool) or value is None:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, int | float) and _is_plain(value, text) else _cut(text)


def _is_plain(number: float, text: str) -> bool:
    """Tell whether a number can stay one: 1e999 is infinite, which JSON does not have."""
    return len(text) <= LONGEST and abs(number) != float("inf")


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
