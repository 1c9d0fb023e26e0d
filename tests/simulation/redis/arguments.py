"""How the arguments of commands are read."""

import re
from typing import Final

from tests.simulation.redis.values import RedisError

INTEGER: Final = re.compile(rb"-?[0-9]{1,18}")
NOT_AN_INTEGER = "ERR value is not an integer or out of range"
NOT_A_FLOAT = "ERR value is not a valid float"
SYNTAX = "ERR syntax error"


def integer(text: bytes) -> int:
    if not INTEGER.fullmatch(text):
        raise RedisError(NOT_AN_INTEGER)
    return int(text)


def score(text: bytes) -> float:
    try:
        number = float(text)
    except ValueError:
        raise RedisError(NOT_A_FLOAT) from None
    if number != number:  # noqa: PLR0124 - not a number
        raise RedisError(NOT_A_FLOAT)
    return number


def bound(text: bytes) -> tuple[float, bool]:
    """Return a limit of scores, and whether it is exclusive."""
    exclusive = text.startswith(b"(")
    try:
        return float(text[1:] if exclusive else text), exclusive
    except ValueError:
        raise RedisError("ERR min or max is not a float") from None


def span(length: int, start: int, stop: int) -> range:
    """Return the indexes that Redis means by start and stop, both inclusive, negative ones from the end."""
    first = max(0, start + length if start < 0 else start)
    last = min(length - 1, stop + length if stop < 0 else stop)
    return range(first, last + 1)


def at_left(text: bytes) -> bool:
    match text.lower():
        case b"left":
            return True
        case b"right":
            return False
    raise RedisError(SYNTAX)
