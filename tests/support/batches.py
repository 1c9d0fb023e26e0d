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
