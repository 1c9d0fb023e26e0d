"""Read batches as a receiver does, down to the bytes of each CDR."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from app.cdr import webhook_id

ENTRY: Final = re.compile(
    r'{"id":"(?P<id>cdr_[0-9a-f]{32})","attempt":(?P<attempt>\d+),"source":"(?P<source>[a-z0-9_-]+)","cdr":'
)


class Member(NamedTuple):
    """One CDR of a POST, and what stands beside it there."""

    webhook_id: str
    attempt: int
    source: str
    cdr: bytes


def members_of(body: bytes, headers: Mapping[str, str], form: str = "envelope") -> list[Member]:
    """Return the CDRs of a POST; those of a plain one, too. Raises AssertionError where it is no batch of that form."""
    attempt = int(headers["webhook-attempt"])
    if "webhook-count" not in headers:
        return [Member(headers["webhook-id"], attempt, "", body)]
    assert re.fullmatch("batch_[0-9a-f]{32}", headers["webhook-id"])
    found = list(_in_envelopes(body) if form == "envelope" else _bare(body, attempt, form))
    assert len(found) == int(headers["webhook-count"])
    assert {member.attempt for member in found} == {attempt}
    return found


def _in_envelopes(body: bytes) -> Iterator[Member]:
    for text in _elements(body):
        entry = ENTRY.match(text)
        assert entry, text
        yield Member(entry["id"], int(entry["attempt"]), entry["source"], text[entry.end() : -1].encode())


def _bare(body: bytes, attempt: int, form: str) -> list[Member]:
    if form == "ndjson":
        *cdrs, end = body.split(b"\n")
        assert not end
    else:
        cdrs = [text.encode() for text in _elements(body)]
    return [Member(webhook_id(cdr), attempt, "", cdr) for cdr in cdrs]


def _elements(body: bytes) -> Iterator[str]:
    """Yield the text of each element of a JSON array with the spaces around it."""
    text, decoder = body.decode(), json.JSONDecoder()
    assert text[0] + text[-1] == "[]"
    at = 1
    while at < len(text) - 1:
        start = at + len(text[at:]) - len(text[at:].lstrip())
        _, end = decoder.raw_decode(text, start)
        end += len(text[end:]) - len(text[end:].lstrip())
        assert text[end] in ",]"
        yield text[at:end]
        at = end + 1
