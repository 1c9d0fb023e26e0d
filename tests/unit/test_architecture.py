"""What the code of `app/` keeps to: who may import what, how long things are, and what is done nowhere."""

import ast
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from statistics import median
from typing import Final

import pytest

import app
from tests.support.repository import APP, ROOT

MODULES: Final = sorted(
    ".".join(path.relative_to(APP).with_suffix("").parts) for path in APP.rglob("*.py") if path.stem != "__init__"
)
LONGEST_FUNCTION: Final = 30
USUAL_FUNCTION: Final = 8
LONGEST_FILE: Final = 200
MOST_FIXTURES: Final = 5

FOLDERS: Final[dict[str, set[str]]] = {
    "config": set(),
    "asgi": set(),
    "telemetry": {"config"},
    "store": {"config", "telemetry"},
    "delivery": {"config", "telemetry"},
    "dead_letters": {"config", "telemetry", "store"},
    "lane": {"config", "telemetry", "store", "delivery", "dead_letters"},
    "demo": {"asgi", "config", "telemetry", "store", "delivery", "dead_letters", "lane"},
    "ops": {"asgi", "config", "telemetry", "store", "delivery", "dead_letters", "lane"},
    "cli": {"config", "telemetry", "store", "delivery", "dead_letters", "lane", "demo", "ops", "service"},
    "source_parts": {"config", "telemetry", "store", "delivery", "dead_letters", "lane", "ops"},
    "parts": {"config", "telemetry", "store", "delivery", "dead_letters", "lane", "ops", "source_parts"},
    "reading": {"config", "telemetry", "store", "dead_letters", "source_parts"},
    "service": {"config", "telemetry", "parts", "reading"},
    "__main__": {"cli"},
}
"""What each folder may import besides itself, `cdr` and `errors`."""

ANYBODYS: Final = {"cdr", "errors"}

KNOWS: Final = {
    "httpx": {"delivery"},
    "starlette": {"ops", "demo"},
    "uvicorn": {"asgi", "ops", "demo"},
    "httptools": {"delivery"},
    "httpcore": {"delivery"},
    "prometheus_client": {"ops"},
    "redis": {"store", "demo"},
    "structlog": {"telemetry"},
    "pydantic": {"config"},
    "typer": {"cli"},
    "rich": {"cli", "demo"},
}
"""Who may import what from outside; a name that is not here is free."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((APP / f"{module.replace('.', '/')}.py").read_text())


def imported(module: str) -> Iterator[str]:
    """Yield each module that is imported, wherever the import stands."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"app.{alias.name}" for alias in node.names) if node.module == "app" else [str(node.module)]


def ours(module: str) -> set[str]:
    return {name.removeprefix("app.") for name in imported(module) if name.startswith("app.")}


def folder_of(module: str) -> str:
    return module.partition(".")[0]


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


@pytest.mark.parametrize("module", MODULES)
def test_folders_import_what_lies_below_them(module: str) -> None:
    """So what lies below can be read, tested and changed without what lies above."""
    folder = folder_of(module)
    allowed = FOLDERS.get(folder, set()) | ANYBODYS | {folder}
    assert {folder_of(other) for other in ours(module)} <= allowed


@pytest.mark.parametrize(("library", "knowing"), KNOWS.items(), ids=KNOWS)
def test_few_know_a_library(library: str, knowing: set[str]) -> None:
    """HTTP, Redis, logging and configuration can each be changed in one corner."""
    found = {folder_of(module) for module in MODULES if any(name.split(".")[0] == library for name in imported(module))}
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


def test_half_of_all_functions_are_short() -> None:
    """The median, in lines: most of them do one thing."""
    functions = [node for module in MODULES for node in ast.walk(tree(module)) if isinstance(node, Function)]
    assert median((node.end_lineno or 0) - node.lineno + 1 for node in functions) <= USUAL_FUNCTION


@pytest.mark.parametrize("ending", ["py", "lua"])
def test_no_file_is_long(ending: str) -> None:
    """Over 200 lines, there are two things in it."""
    lengths = {path.name: path.read_text().count("\n") for path in APP.rglob(f"*.{ending}")}
    assert len(lengths) > 10
    assert {name for name, length in lengths.items() if length > LONGEST_FILE} == set()


def catches_everything(handler: ast.ExceptHandler) -> bool:
    """Tell whether an error of any kind ends there; where it is raised again, none does."""
    if isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None:
        return False
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
    assert found == ["cli.run"]


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
    """A literal in telemetry, so that it can be searched for; never put together from variables."""
    telemetry = [name for name in MODULES if folder_of(name) == "telemetry"]
    calls = [node for name in telemetry for node in ast.walk(tree(name)) if isinstance(node, ast.Call)]
    logged = [
        node
        for node in calls
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"debug", "info", "warning", "error"}
    ]
    unnamed = [ast.unparse(node) for node in logged if not isinstance(node.args[0], ast.Constant)]
    assert unnamed == ["self._log.try_unbind('advice').info(self._names[1], after=round(self.seconds, 3), **fields)"]


def test_nothing_is_named_after_nothing() -> None:
    """No utils, no helpers, no managers."""
    classes = [node.name for module in MODULES for node in ast.walk(tree(module)) if isinstance(node, ast.ClassDef)]
    assert not {"utils", "util", "helpers", "common", "misc"} & {name.rpartition(".")[2] for name in MODULES}
    assert not [name for name in classes if name.endswith(("Manager", "Helper", "Util"))]


def test_no_test_needs_many_fixtures() -> None:
    """Not counting parametrized values: `world` is what surrounds a forwarder, and stands for many of them."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    nodes = [(path, node) for path in files for node in ast.walk(ast.parse(path.read_text()))]
    tests = [(path, node) for path, node in nodes if isinstance(node, Function) and node.name.startswith("test_")]
    assert len(tests) > 1000
    assert [f"{path.name}::{node.name}" for path, node in tests if len(fixtures_of(node)) > MOST_FIXTURES] == []


def fixtures_of(test: Function) -> set[str]:
    names = {argument.arg for argument in (*test.args.args, *test.args.kwonlyargs)} - {"self"}
    return names - {name for decorator in test.decorator_list for name in parametrized(decorator)}


def parametrized(decorator: ast.expr) -> Iterator[str]:
    """Yield the names of values; an indirect one is a fixture."""
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.parametrize":
        given = ast.literal_eval(decorator.args[0])
        names = given.replace(" ", "").split(",") if isinstance(given, str) else given
        yield from () if any(keyword.arg == "indirect" for keyword in decorator.keywords) else names


@pytest.mark.parametrize("module", sorted(module.name for module in pkgutil.walk_packages(app.__path__, "app.")))
def test_each_module_can_be_loaded(module: str) -> None:
    """Those of commands, too, which tests run in other processes; `app.__main__` would run the program."""
    if module != "app.__main__":
        assert import_module(module).__name__ == module
