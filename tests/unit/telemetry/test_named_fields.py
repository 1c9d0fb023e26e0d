"""What is found in a CDR of any shape, by the paths that an operator named."""

import json
from typing import Any

import pytest

from app.telemetry.named_fields import LONGEST, named_fields

CDR = b'{"a": {"b": [1, {"c": "deep"}], "0": "zero", "n": null, "t": true, "f": 1.5}, "s": "text"}'


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("s", "text"),
        ("a.b.0", 1),
        ("a.b.1.c", "deep"),
        ("a.0", "zero"),
        ("a.n", None),
        ("a.t", True),
        ("a.f", 1.5),
        ("a.b", '[1, {"c": "deep"}]'),
        ("a.b.2", None),
        ("a.b.-1", None),
        ("a.b.²", None),
        ("a.b." + "9" * 200, None),
        ("s.0", None),
        ("missing.c", None),
        ("", None),
    ],
)
def test_a_path_leads_to_a_value_or_to_nothing(path: str, value: object) -> None:
    """Names lead into objects, numbers into arrays; objects and arrays become text."""
    assert named_fields(CDR, [path]) == {path: value}


@pytest.mark.parametrize(
    "cdr",
    [b"", b"not JSON", b"\xff\xfe\xfd", b"[" * 100_000, b"7", b"null", b'"a"', b'{"a": ' + b"9" * 5000 + b"}"],
)
def test_a_cdr_without_fields_has_none(cdr: bytes) -> None:
    """Whatever somebody pushed; nothing is raised."""
    assert named_fields(cdr, ["a.b"]) == {"a.b": None}


@pytest.mark.parametrize("value", ["x" * 10_000, [1] * 10_000, 10**4000, {"k": "v" * 10_000}])
def test_a_long_value_is_cut(value: Any) -> None:
    """A line stays short, whatever is in the CDR."""
    cut = named_fields(json.dumps({"a": value}).encode(), ["a"])["a"]
    assert isinstance(cut, str)
    assert (len(cut), cut[-1]) == (LONGEST, "…")


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999"])
def test_what_json_does_not_have_is_text(number: bytes) -> None:
    """A line is JSON for every reader."""
    assert isinstance(named_fields(b'{"a": ' + number + b"}", ["a"])["a"], str)
