"""The body of a batch, what can be in it, and how large it may be."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.cdr import Cdr, webhook_id
from app.config.batch import BatchFormat, BatchSettings
from app.config.timings import Timings
from app.delivery.batch import BatchForm
from app.delivery.batch_size import BatchSize
from tests.support.harness import passed
from tests.support.members import Member, members_of

VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=20,
)
BODIES = some.builds(
    lambda value, indent, ascii_only: json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(
        errors="surrogatepass"
    ),
    VALUES,
    some.sampled_from([None, 0, 2]),
    some.booleans(),
)


@pytest.mark.parametrize("form", get_args(BatchFormat))
@given(some.lists(BODIES | some.binary(max_size=20), min_size=1, max_size=8))
def test_each_cdr_is_in_it_byte_for_byte(form: BatchFormat, bodies: list[bytes]) -> None:
    """Whatever JSON it is; what is none is not taken, and sent as it is."""
    one = BatchForm(form, "cdr")
    taken: list[bytes] = []
    refused: list[bytes] = []
    for body in bodies:
        (taken if one.takes(body) else refused).append(body)
    if taken:
        message = one.message([Cdr(body) for body in taken])
        headers = {"webhook-id": message.webhook_id, "webhook-attempt": "1", "webhook-count": str(message.cdrs)}
        source = "cdr" if form == "envelope" else ""
        assert members_of(message.body, headers, form) == [Member(webhook_id(body), 1, source, body) for body in taken]
        assert len(message.body) <= 2 + sum(len(body) + one.overhead for body in taken)
    for body in refused:
        message = one.message([Cdr(body)])
        assert (message.webhook_id, message.body, message.cdrs) == (webhook_id(body), body, None)


@given(VALUES, some.sampled_from([None, 2]))
def test_json_is_taken(value: object, indent: int | None) -> None:
    """Everything that another implementation writes; for ndjson, if it is one line."""
    body = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    assert BatchForm("envelope", "cdr").takes(body)
    assert BatchForm("ndjson", "cdr").takes(body) is (b"\n" not in body)


@pytest.mark.parametrize("depth", [100, 300, 100_000])
def test_what_is_nested_too_deep_is_not_taken(depth: int) -> None:
    """Receivers' parsers give up at some depth, and would refuse the others with it."""
    assert BatchForm("json", "cdr").takes(b"[" * depth + b"]" * depth) is (depth == 100)


def test_the_id_of_a_batch_says_what_is_in_it_and_in_which_order() -> None:
    """The same request has the same id, another one another."""
    one, cdrs = BatchForm("json", "cdr"), [Cdr(b"%d" % number) for number in range(3)]
    again = [Cdr(cdr.body) for cdr in cdrs]
    assert one.message(cdrs).webhook_id == one.message(again).webhook_id
    assert len({one.message(some_of).webhook_id for some_of in (cdrs, cdrs[::-1], cdrs[:2])}) == 3


async def test_a_413_is_remembered_for_a_while() -> None:
    """As half of the bytes that were too many; several of one size count as one."""
    size = BatchSize(BatchSettings(batch_size=8, batch_bytes=10_000), Timings(smaller_batches=0.05))
    size.too_large(9000)
    size.too_large(9002)
    assert (size.bytes, size.cdrs(0)) == (4500, 8)
    size.too_large(1000)
    assert size.bytes == 500
    await passed(0.05)
    assert size.bytes == 10_000
    size.too_large(9000)
    assert size.bytes == 4500
