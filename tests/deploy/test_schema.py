"""deploy/settings.schema.json says of each variable what the forwarder accepts."""

import json
import sys
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from app.config.environment import load_settings, variable_names
from app.config.schema import settings_schema
from app.errors import ConfigurationError
from tests.support.repository import EXAMPLE, ROOT, documented
from tests.support.tools import output_of

SCHEMA: Final = ROOT / "deploy" / "settings.schema.json"
URL: Final = {"CDR_WEBHOOK_URL": "https://billing.example/cdr"}


def is_refused(variables: dict[str, Any]) -> bool:
    """Tell whether the schema refuses them."""
    return not Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(variables)


def test_it_is_up_to_date() -> None:
    """Made by: python -m app.config.schema .env.example >deploy/settings.schema.json."""
    assert output_of(sys.executable, "-m", "app.config.schema", EXAMPLE) == SCHEMA.read_text()


def test_it_is_a_schema() -> None:
    """By the rules of JSON Schema itself."""
    Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


def test_it_knows_every_variable_and_what_is_secret() -> None:
    """Nothing else is in it; a secret can also come from a file."""
    properties = settings_schema(EXAMPLE.read_text())["properties"]
    names = variable_names()
    assert properties.keys() == names.keys() | {f"{name}_FILE" for name, secret in names.items() if secret}
    assert {name for name, schema in properties.items() if schema.get("writeOnly")} == {
        name for name, secret in names.items() if secret
    }


def test_it_tells_the_defaults_of_the_example() -> None:
    """.env.example is held against the code."""
    properties = settings_schema(EXAMPLE.read_text())["properties"]
    told = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    shown = {name: value for name, value in documented().items() if value and name not in {*URL, "CDR_LOG_FORMAT"}}
    assert {name: json.dumps(value).strip('"') for name, value in told.items()} == shown


@pytest.mark.parametrize(
    "variables",
    [
        documented(),
        URL | {"CDR_LEASE": 10, "CDR_WEBHOOK_TLS_VERIFY": False, "CDR_OPS_TOKEN": "", "PATH": "/bin"},
        URL | {"CDR_LEASE": "0.5", "CDR_WEBHOOK_REJECT_STATUSES": "400, 422", "CDR_FORWARDER_PORT": "tcp://10.0.0.1"},
        {"CDR_WEBHOOK_URL_FILE": "/run/secrets/url"},
        {"CDR_ENDPOINTS__CRM__URL": "https://crm.example/", "CDR_ENDPOINTS__CRM__RATE_LIMIT": 20},
        {"CDR_ENDPOINTS__crm__URL_FILE": "/run/secrets/url", "CDR_WEBHOOK_TIMEOUT": "10"},
    ],
    ids=str,
)
def test_what_the_forwarder_accepts_is_accepted(variables: dict[str, Any]) -> None:
    """As strings of an environment, or as numbers and booleans of a YAML file."""
    assert not is_refused(variables)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"CDR_LEASE": "5"},
        URL | {"CDR_LEESE": "5"},
        URL | {"CDR_LEASE": "soon"},
        URL | {"CDR_SOURCE_OLDEST": "middle"},
        URL | {"CDR_OPS_TOKEN": "short"},
        URL | {"CDR_WEBHOOK_REJECT_STATUSES": "400,500"},
        {"CDR_ENDPOINTS__CRM__URL": "https://crm.example/", "CDR_ENDPOINTS__CRM__TIMOUT": "5"},
    ],
    ids=str,
)
def test_what_the_forwarder_refuses_is_refused(variables: dict[str, Any]) -> None:
    """A wrong name, a wrong word, or no endpoint at all."""
    assert is_refused(variables)
    with pytest.raises(ConfigurationError):
        load_settings(variables, dotenv=None)
