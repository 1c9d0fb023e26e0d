"""What a simulated Redis stores and answers."""

from bisect import bisect_left, insort
from typing import Final

WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"


class RedisError(Exception):
    """An error reply; its text begins with the code."""


class Status(bytes):
    """A simple string, such as OK."""


class NilArray:
    """The nil that stands for an array."""


OK: Final = Status(b"OK")
NIL_ARRAY: Final = NilArray()

Reply = int | bytes | None | NilArray | list["Reply"] | RedisError


class SortedSet:
    """Members by score, then by their bytes."""

    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}
        self.order: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self.scores)

    def set(self, member: bytes, score: float) -> None:
        self.discard(member)
        self.scores[member] = score
        insort(self.order, (score, member))

    def discard(self, member: bytes) -> bool:
        if (score := self.scores.pop(member, None)) is None:
            return False
        del self.order[bisect_left(self.order, (score, member))]
        return True

    def copy(self) -> "SortedSet":
        other = SortedSet()
        other.scores, other.order = dict(self.scores), list(self.order)
        return other


Value = bytes | list[bytes] | dict[bytes, bytes] | SortedSet

TYPE_NAMES: Final[dict[type, bytes]] = {
    bytes: b"string",
    list: b"list",
    dict: b"hash",
    SortedSet: b"zset",
}


def copy_of(value: Value) -> Value:
    return value if isinstance(value, bytes) else value.copy()


def encode(reply: Reply) -> bytes:  # noqa: PLR0911 - one for each type
    """Write a reply in RESP2."""
    match reply:
        case Status():
            return b"+%b\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case int():
            return b":%d\r\n" % reply
        case None:
            return b"$-1\r\n"
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(encode, reply))
        case RedisError():
            return b"-%b\r\n" % str(reply).replace("\r\n", " ").encode()
        case NilArray():
            return b"*-1\r\n"


def number_text(number: float) -> bytes:
    """Write a score as Redis does: the shortest text that reads back as the same number."""
    if number in (float("inf"), float("-inf")):
        return b"inf" if number > 0 else b"-inf"
    if number == int(number) and abs(number) < 1e17:
        return b"%d" % int(number)
    return repr(number).encode()
