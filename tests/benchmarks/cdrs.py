"""The CDRs that are forwarded: the documented shape, made long enough."""

from collections.abc import Iterator
from typing import Final

KILOBYTE: Final = 1024
USUAL: Final = 1100
POISON: Final = b'{"poison": true, '
"""A CDR that begins with it always fails."""

_SHAPE: Final = (
    b'"type": "cdr", "payload": {"extension": "1042", "number": "0825550142", '
    b'"call_ref": "c2d-1700000000-%d", "dialed_at": 1700000000, "end_reason": "ANSWERED", "end_code": 16, '
    b'"call_time": 187, "hold_time": 12, "call_dir": "outbound", "ref": "click-dial"}, "note": "'
)


def cdr(number: int, size: int = USUAL, pushed_at: int = 0) -> bytes:
    """Return about `size` bytes that no other number gives. `pushed_at`: nanoseconds, monotonic; 0: not known."""
    return _padded(b'{"pushed_at": %d, ' % pushed_at, number, size)


def poison(number: int, size: int = USUAL) -> bytes:
    """Return a CDR that the endpoint never takes."""
    return _padded(POISON, number, size)


def cdrs(number: int, size: int = USUAL) -> Iterator[bytes]:
    return (cdr(each, size) for each in range(number))


def _padded(begin: bytes, number: int, size: int) -> bytes:
    begin += _SHAPE % number
    return begin + b"x" * (size - len(begin) - 2) + b'"}'
