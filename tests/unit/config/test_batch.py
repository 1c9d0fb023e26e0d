"""Which batches can be asked for."""

import pytest

from app.config.environment import load_settings
from app.errors import ConfigurationError

URL = {"CDR_WEBHOOK_URL": "http://localhost:9000/cdr"}


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("SIZE", "0", "must be greater than or equal to 1"),
        ("SIZE", "10001", "must be less than or equal to 10000"),
        ("SIZE", "many", "must be a whole number"),
        ("BYTES", "1023", "must be greater than or equal to 1024"),
        ("BYTES", "33554433", "must be less than or equal to 33554432"),
        ("LINGER", "-1", "must be greater than or equal to 0"),
        ("LINGER", "61", "must be less than or equal to 60"),
        ("LINGER", "nan", "must be a finite number"),
        ("FORMAT", "xml", "must be 'envelope', 'json' or 'ndjson'"),
    ],
)
def test_what_is_out_of_range_is_one_line(field: str, value: str, wanted: str) -> None:
    """It names the variable, what it got and what it wants."""
    with pytest.raises(ConfigurationError) as refused:
        load_settings(URL | {f"CDR_WEBHOOK_BATCH_{field}": value}, dotenv=None)
    [line] = str(refused.value).splitlines()
    assert line == f"CDR_WEBHOOK_BATCH_{field}: got {value!r}; {wanted}"


def test_each_endpoint_may_have_its_own() -> None:
    """What is said for all is the default, also of the content type."""
    variables = {
        "CDR_WEBHOOK_BATCH_SIZE": "100",
        "CDR_WEBHOOK_BATCH_FORMAT": "ndjson",
        "CDR_ENDPOINTS__CRM__URL": URL["CDR_WEBHOOK_URL"],
        "CDR_ENDPOINTS__CRM__BATCH_SIZE": "1",
        "CDR_ENDPOINTS__DB__URL": URL["CDR_WEBHOOK_URL"],
        "CDR_ENDPOINTS__LINES__URL": URL["CDR_WEBHOOK_URL"],
        "CDR_ENDPOINTS__LINES__CONTENT_TYPE": "application/json",
    }
    crm, db, lines = load_settings(variables, dotenv=None).endpoints
    assert [(one.batches, one.batch_content_type) for one in (crm, db, lines)] == [
        (False, "application/x-ndjson"),
        (True, "application/x-ndjson"),
        (True, "application/json"),
    ]
