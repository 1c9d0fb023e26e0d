"""Placeholders in configured headers: what is accepted, and how a mistake is told."""

import json

import pytest

from app.config.environment import load_settings
from app.errors import ConfigurationError


def problems(value: str) -> list[str]:
    """Return what is said at start of a header x-key with this value."""
    variables = {"CDR_WEBHOOK_URL": "http://127.0.0.1/", "CDR_WEBHOOK_HEADERS": json.dumps({"x-key": value})}
    try:
        load_settings(variables, dotenv=None)
    except ConfigurationError as error:
        return list(error.args)
    return []


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "{webhook_id}",
        "00-{trace_id}-{span_id}-01",
        "{{",
        "}}",
        '{{"a": "{source}"}}',
        "{{{attempt}}}",
        "%s %b",
    ],
)
def test_what_can_be_sent_is_accepted(value: str) -> None:
    """Placeholders, literal braces written twice, both together, and text of any other kind."""
    assert problems(value) == []


@pytest.mark.parametrize("value", ["{", "}", "{webhook_id", "webhook_id}", "{{webhook_id}", "a}b", "{a!}", "{:"])
def test_a_brace_without_its_partner_is_one_line(value: str) -> None:
    """It names the variable and the header, and not the value, which may be a secret."""
    [line] = problems(f"s3cret{value}")
    assert line == (
        "CDR_WEBHOOK_HEADERS: got ***; the value of x-key has a brace without its partner; "
        "write a literal brace twice: {{ or }}"
    )


@pytest.mark.parametrize(
    "value", ["{}", "{0}", "{call_ref}", "{Webhook_Id}", "{ attempt }", "{attempt!r}", "{attempt:>9}", "{attempt.real}"]
)
def test_an_unknown_placeholder_is_one_line(value: str) -> None:
    """It says which ones there are. Nothing but a name may stand in the braces."""
    [line] = problems(f"s3cret{value}")
    assert line == (
        "CDR_WEBHOOK_HEADERS: got ***; the value of x-key has an unknown placeholder: there are {webhook_id}, "
        "{attempt}, {timestamp}, {source}, {endpoint}, {trace_id}, {span_id}; write a literal brace twice: {{ or }}"
    )
