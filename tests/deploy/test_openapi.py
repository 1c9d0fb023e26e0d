"""deploy/openapi.yaml says what the operator server answers."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator
from redis.asyncio import Redis

from app.config.timings import Timings
from app.demo.embedded import free_port
from app.ops.letters_api import FIELDS, FILTERS
from app.ops.routes import PAGE
from app.parts import Parts
from app.service import Service
from tests.support.harness import eventually, running, settings_from
from tests.support.repository import ROOT

DOCUMENT: Final[dict[str, Any]] = yaml.safe_load((ROOT / "deploy" / "openapi.yaml").read_text())
TOKEN: Final = "token-of-sixteen-characters"
BODIES: Final[dict[str, Any]] = {
    "/api/dead-letters/search": {"id": "cdr_1"},
    "/api/dead-letters/outcome": {"replayed": {}, "since": "2026-01-01T00:00:00+00:00"},
}
WRONG: Final = {"authorization": "Bearer no"}
ASSETS: Final = set(PAGE) - {"/"}


def resolved(part: Any) -> Any:
    """Return it with what it refers to in its place."""
    if isinstance(part, dict) and "$ref" in part:
        found: Any = DOCUMENT
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return resolved(found)
    if isinstance(part, dict):
        return {name: resolved(value) for name, value in part.items()}
    return [resolved(value) for value in part] if isinstance(part, list) else part


OPERATIONS: Final = [
    (path, method, resolved(operation))
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


@pytest.fixture
async def service(variables: dict[str, str]) -> AsyncIterator[Service]:
    watched = variables | {"CDR_OPS_PORT": str(free_port()), "CDR_OPS_TOKEN": TOKEN}
    async with running(settings_from(watched)) as service:
        await eventually(service.parts.sources[0].lease.holds)
        yield service


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://127.0.0.1:{service.parts.settings.ops_port}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
        await eventually(lambda: _listens(http))
        yield http


async def _listens(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.ConnectError:
        return False


async def test_each_route_is_documented_and_no_other(variables: dict[str, str]) -> None:
    """With its methods; but for the files that the page needs."""
    parts = Parts(settings_from(variables | {"CDR_OPS_PORT": "1"}), Timings())
    server: Any = parts.operator_server(list)
    served = {
        (route.path.replace(":path", ""), method.lower())
        for route in server.application.routes
        for method in route.methods - {"HEAD"}
        if route.path not in ASSETS
    }
    await parts.sources[0].link.aclose()
    assert served == {(path, method) for path, method, _ in OPERATIONS}


def test_each_answer_has_a_schema_that_is_one() -> None:
    """A mistake in it would accept everything."""
    for name in DOCUMENT["components"]["schemas"]:
        Draft202012Validator.check_schema(resolved(DOCUMENT["components"]["schemas"][name]))


def test_the_selection_has_the_fields_that_are_read() -> None:
    """Of replay and drop."""
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Selection"]["properties"].keys() == FIELDS.keys()
    assert schemas["Search"]["properties"].keys() == FILTERS.keys()


def authorized(operation: dict[str, Any], token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if "security" in operation else {}


@pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=lambda part: part if isinstance(part, str) else ""
)
async def test_it_answers_as_documented(
    path: str, method: str, operation: dict[str, Any], http: httpx.AsyncClient, client: Redis, dead: str
) -> None:
    """Its status, content type and body; asked well, and without or with a wrong token where one is needed."""
    await client.rpush(dead, json.dumps({"id": "cdr_1", "cdr": "one", "reason": "rejected"}))
    address = path.replace("{id}", "cdr_1").replace("{name}", "webhook")
    body = BODIES.get(path, {"all": True}) if "requestBody" in operation else None
    answer = await http.request(method, address, headers=authorized(operation), json=body)
    documented = operation["responses"][str(answer.status_code)]
    assert answer.is_success
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in documented["content"]
    if kind == "application/json":
        Draft202012Validator(documented["content"][kind].get("schema", {})).validate(answer.json())
    if "security" in operation:
        for wrong in ({}, WRONG):
            assert (await http.request(method, address, headers=wrong, json=body)).status_code == 401
        assert "401" in operation["responses"]
