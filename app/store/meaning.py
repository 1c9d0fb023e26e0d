"""Turn errors of Redis and redis-py into ours."""

import re
from typing import Final

import redis.exceptions as refusals

from app.errors import (
    FencedError,
    ForwarderError,
    LoginRefusedError,
    OperatorRedisError,
    OutOfMemoryError,
    TransientRedisError,
)

LOGIN: Final = ("NOAUTH", "WRONGPASS", "unknown command 'AUTH'", "unknown command `AUTH`")
NEEDS_PERSON: Final = (
    *("WRONGTYPE", "NOPERM"),
    # NOPERM inside a script: before 7.0, and since 7.2.
    *("can't run this command", "can't access at least one of the keys", "ACL failure in script"),
)
KNOWN: Final = (
    *("READONLY", "MASTERDOWN", "CLUSTERDOWN"),  # inside a script, where 6.2 gives them no type
    *("UNBLOCKED", "MISCONF", "NOREPLICAS", "BUSY", "TRYAGAIN", "max number of clients"),
)
QUOTED: Final = re.compile(r"(, with args beginning with).*", re.DOTALL)
"""What Redis quotes of a command that it does not know: of AUTH the password, of RPUSH a CDR."""

FOREIGN_ERRORS: Final = (refusals.RedisError, OSError, RuntimeError)
"""All that redis-py raises. uvloop raises RuntimeError if a connection closes under it."""

KNOWN_TYPES: Final = (
    *(refusals.ReadOnlyError, refusals.ClusterDownError, refusals.TryAgainError, refusals.MasterDownError),
    *(refusals.MaxConnectionsError, refusals.AskError),
)


def meaning(error: Exception) -> ForwarderError:
    """Return our error for one of redis-py's.

    Its class is not enough: in redis-py's tree a wrong password and a loading server are ConnectionErrors too.
    """
    text = QUOTED.sub(r"\1 ***", str(error)) or _unsaid(error)
    if needs_person := _for_a_person(error, text):
        return needs_person
    if isinstance(error, refusals.OutOfMemoryError) or "OOM" in text:
        return OutOfMemoryError(text)
    if text.startswith("FENCED"):
        return FencedError(text)
    if isinstance(error, KNOWN_TYPES) or _says(text, KNOWN):
        return TransientRedisError(text)
    if isinstance(error, refusals.ResponseError):
        return TransientRedisError(text, known=False)
    return TransientRedisError(text, away=True)


def _unsaid(error: Exception) -> str:
    is_late = isinstance(error, TimeoutError | refusals.TimeoutError)
    return "no answer in time" if is_late else type(error).__name__


def _for_a_person(error: Exception, text: str) -> OperatorRedisError | None:
    if isinstance(error, refusals.AuthenticationError) or _says(text, LOGIN):
        return LoginRefusedError(text)
    if isinstance(error, refusals.NoPermissionError) or _says(text, NEEDS_PERSON):
        return OperatorRedisError(text)
    return None


def _says(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)
