"""How the house is built: who may know whom, and what is not done anywhere."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

APP: Final = Path(__file__).parent.parent / "app"
MODULES: Final = sorted(path.stem for path in APP.glob("*.py") if path.stem != "__init__")
LONGEST_FUNCTION: Final = 30

LAYERS: Final = (
    {"__main__"},
    {"cli"},
    {"cli_letters", "cli_operate"},
    {"command"},
    {"service", "healthcheck", "demo", "dead_letters_command", "inject", "reroute", "status_view", "check"},
    {"check_lists", "ops"},
    {"exposition", "letters_api", "retention"},
    {"observation", "dead_lanes"},
    {"lane", "fanout", "demo_view"},
    {"intake", "delivery", "sampler", "demo_calls", "demo_lists"},
    {"selection", "status", "process_status", "check_redis", "check_endpoints"},
    {"adoption", "sweep", "breaker", "dead_letters", "in_flight", "endpoint", "demo_count", "demo_child"},
    {"dead_store", "metrics"},
    {
        *("operation", "queue", "cdr", "transport", "preflight", "leftovers", "check_settings"),
        *("sample_endpoint", "embedded"),
    },
    {"ownership", "parking", "patience", "verdict", "failures", "leash"},
    {"link"},
    {"connection"},
    {"variables", "master"},
    {"events", "settings"},
    {"endpoint_settings"},
    {"values"},
    {"errors", "keys", "redis_url", "terminal", "finding"},
)
"""Each may import from those below it, and from none beside or above it."""

KNOWS: Final = {
    "httpx": {"endpoint", "transport", "failures"},
    "aiohttp": {"transport", "failures", "ops"},
    "prometheus_client": {"exposition"},
    "redis": {
        *("link", "connection", "master", "queue", "preflight", "service", "dead_store", "reroute"),
        *("embedded", "demo", "demo_calls", "demo_lists"),
    },
    "structlog": {"events"},
    "pydantic": {"values", "endpoint_settings", "settings", "variables", "connection"},
    "typer": {"cli", "cli_letters", "cli_operate", "command"},
    "rich": {"terminal", "status_view", "demo", "demo_view", "demo_count"},
}
"""Who may import what from outside; a name that is not here is free."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((APP / f"{module}.py").read_text())


def imported(module: str) -> Iterator[str]:
    """Yield each module that is imported, wherever the import stands."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"app.{alias.name}" for alias in node.names) if node.module == "app" else [str(node.module)]


def ours(module: str) -> set[str]:
    return {name.removeprefix("app.") for name in imported(module) if name.startswith("app.")}


def layer_of(module: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if module in layer)


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is executed when a module is imported: not the bodies of its functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda):
            defaults = [*child.args.defaults, *child.args.kw_defaults, *getattr(child, "decorator_list", [])]
            for default in filter(None, defaults):
                yield default
                yield from run_at_import(default)
        else:
            yield child
            yield from run_at_import(child)


def test_every_module_has_its_layer() -> None:
    """A new one is given a place before it is imported."""
    assert sorted(name for layer in LAYERS for name in layer) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    """Down: so what lies below can be read, tested and changed without what lies above."""
    upward = {other for other in ours(module) if layer_of(other) <= layer_of(module)}
    assert not upward


@pytest.mark.parametrize(("library", "knowing"), KNOWS.items(), ids=KNOWS)
def test_few_know_a_library(library: str, knowing: set[str]) -> None:
    """HTTP, Redis, logging and configuration can each be changed in one corner."""
    found = {module for module in MODULES if any(name.split(".")[0] == library for name in imported(module))}
    assert found <= knowing


@pytest.mark.parametrize("module", ["__init__", *MODULES])
def test_every_module_says_what_it_is_for(module: str) -> None:
    """The first line is a sentence: the one reason for which the file changes."""
    first = (ast.get_docstring(tree(module)) or "").partition("\n")[0]
    assert first.endswith((".", ":"))


@pytest.mark.parametrize("module", MODULES)
def test_no_function_is_long(module: str) -> None:
    """Over 30 lines, there is a name that has not been found yet."""
    functions = [node for node in ast.walk(tree(module)) if isinstance(node, Function)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(
        isinstance(node, ast.Name) and node.id in {"Exception", "BaseException"} for node in ast.walk(handler.type)
    )


def test_only_the_last_line_catches_everything() -> None:
    """An error that nobody thought of ends the process, with its reason; nothing goes on with half a state."""
    found = [
        module
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ExceptHandler) and catches_everything(node)
    ]
    assert found == ["cli"]


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_configured_by_an_import(module: str) -> None:
    """The environment is read when somebody asks for settings, and not when a module happens to be loaded."""
    names = {
        node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
        for node in run_at_import(tree(module))
    }
    calls = {getattr(node.func, "id", None) for node in run_at_import(tree(module)) if isinstance(node, ast.Call)}
    assert not names & {"environ", "environb", "getenv"}
    assert not calls & {"load_settings", "Settings"}


def test_every_event_is_named_in_one_place() -> None:
    """A literal in events.py, so that it can be searched for; never put together from variables."""
    calls = [node for node in ast.walk(tree("events")) if isinstance(node, ast.Call)]
    logged = [
        node
        for node in calls
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"debug", "info", "warning", "error"}
    ]
    unnamed = [ast.unparse(node) for node in logged if not isinstance(node.args[0], ast.Constant)]
    assert unnamed == ["self._log.info(self._names[1], after=round(time.monotonic() - self._since, 3), **fields)"]


def test_nothing_is_named_after_nothing() -> None:
    """No utils, no helpers, no managers."""
    classes = [node.name for module in MODULES for node in ast.walk(tree(module)) if isinstance(node, ast.ClassDef)]
    assert not {"utils", "util", "helpers", "common", "misc"} & set(MODULES)
    assert not [name for name in classes if name.endswith(("Manager", "Helper", "Util"))]
