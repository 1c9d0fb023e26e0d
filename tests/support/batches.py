"""The body of a batch in each of its formats, written down here a second time, and by hand."""

from collections.abc import Callable, Sequence
from typing import Final

from app.cdr import webhook_id


def envelope(cdrs: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(map(_in_envelope, cdrs)) + b"]"


def json_array(cdrs: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(cdrs) + b"]"


def ndjson(cdrs: Sequence[bytes]) -> bytes:
    return b"".join(cdr + b"\n" for cdr in cdrs)


FORMATS: Final[dict[str, Callable[[Sequence[bytes]], bytes]]] = {
    "envelope": envelope,
    "json": json_array,
    "ndjson": ndjson,
}


def content_type(format_name: str) -> str:
    return "application/x-ndjson" if format_name == "ndjson" else "application/json"


def _in_envelope(cdr: bytes) -> bytes:
    return b'{"id":"%s","attempt":1,"source":"cdr","cdr":%s}' % (webhook_id(cdr).encode(), cdr)


def cdr_numbered(number: int) -> bytes:
    """Return one of the documented shape."""
    return (
        b'{"type": "cdr", "payload": {"extension": "1042", "number": "0825550142", "call_ref": "c2d-1700000000-%d", '
        b'"dialed_at": 1700000000, "end_reason": "ANSWERED", "call_time": 187, "ref": "click-dial"}}'
    ) % number
