"""Find the CDRs that one POST carries, with the bytes that they had in Redis."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from app.cdr import webhook_id

_TOKEN: Final = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)
_ENVELOPE: Final = re.compile(rb'\{"id":"(cdr_[0-9a-f]{32})","attempt":[0-9]+,"source":"[^"]*","cdr":(.*)\}', re.DOTALL)


class Member(NamedTuple):
    """Holds one CDR of a POST, and the id by which it is deduplicated."""

    webhook_id: str
    body: bytes


def members_of(headers: Mapping[str, str], body: bytes) -> list[Member]:
    """Return the CDRs of a plain POST, or of a batch in any format. Raises ValueError if a batch is incomplete.

    A batch is known by its webhook-id, because that is signed, and webhook-count is not.
    """
    name = headers.get("webhook-id", "")
    if not name.startswith("batch_"):
        return [Member(name, body)]
    if "ndjson" in headers.get("content-type", "") or not body.startswith(b"["):
        members = [Member(webhook_id(line), line) for line in body.removesuffix(b"\n").split(b"\n")]
    else:
        members = _of_array(body)
    if headers.get("webhook-count", str(len(members))) != str(len(members)):
        raise ValueError(f"webhook-count is {headers['webhook-count']}, and it holds {len(members)}")
    return members


def _of_array(body: bytes) -> list[Member]:
    elements = _elements_of(body)
    enveloped = [found for element in elements if (found := _ENVELOPE.fullmatch(element))]
    if len(enveloped) < len(elements):
        return [Member(webhook_id(element), element) for element in elements]
    return [Member(found[1].decode(), found[2]) for found in enveloped]


def _elements_of(array: bytes) -> list[bytes]:
    """Return the text of each element. A JSON parser gives values, from which nobody can make the same bytes again."""
    depth, begin, in_string = 0, 1, False
    elements: list[bytes] = []
    for token in _TOKEN.finditer(array):
        sign = token[0]
        in_string ^= sign == b'"'
        if in_string or sign == b'"':
            continue
        depth += (sign in b"[{") - (sign in b"]}")
        if depth == 0 or (depth == 1 and sign == b","):
            elements.append(array[begin : token.start()])
            begin = token.end()
    if depth or begin < len(array):
        raise ValueError("it is no JSON array")
    return elements
