"""A docstring of `app/` begins with a verb: `Return …`, `Make …`; of a class, with what it does: `Holds …`."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.repository import APP

VERBS: Final = re.findall(
    r"\w+",
    """
    accept ack act adapt add adopt allow answer append apply ask attempt await be become begin behave belong bring
    build calculate call carry check choose claim clear close collect combine compare configure connect convert copy
    count create decide decode defer define delete deliver describe discard distribute divide do draw drop empty
    encode end enforce ensure escape estimate evict exit expect explain fail fetch fill find finish flush follow
    forget format forward get give go group grow guess halve hand handle have head hold identify ignore inject
    interpret join judge keep kill know lead learn leave let limit list listen load log look lower make map mark
    match measure meet merge move name note open order own parse pass pause peek pick place plan play poll post
    prepare print probe produce prove publish pull push put quote raise read receive record redeliver reduce refuse
    register reject release remember remove render renew repeat replace replay reply report request reserve resolve
    rest restore return rewrite run save say scan schedule search see select send separate serve set settle share
    shorten show shrink shut sign skip sort split spread stand start stay stop store strip sum swap sweep take tell
    throw translate trim try turn understand undo unlock update use validate verify visit wait wake warn watch work
    wrap write yield
    """,
)
"""The verbs that begin a docstring today; another verb is no mistake, and is added here."""

IRREGULAR: Final = {"be": "is", "do": "does", "go": "goes", "have": "has"}


def third_person(verb: str) -> str:
    ending = "ies" if re.search(r"[^aeou]y$", verb) else "es" if re.search(r"(s|sh|ch|x)$", verb) else "s"
    return IRREGULAR.get(verb, (verb.removesuffix("y") if ending == "ies" else verb) + ending)


FUNCTIONS: Final = frozenset(VERBS)
CLASSES: Final = frozenset({"raised", *map(third_person, VERBS)})
"""`Raised when …` says what an error means."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def not_verbs(source: str) -> dict[str, str]:
    """Return the first word of each docstring that does not begin with a verb, by the name of what has it."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, Documented)]
    words = {node: re.findall(r"\w+", (ast.get_docstring(node) or "").lower())[:1] for node in nodes}
    return {
        getattr(node, "name", "module"): word[0]
        for node, word in words.items()
        if not {*word} <= (CLASSES if isinstance(node, ast.ClassDef) else FUNCTIONS)
    }


@pytest.mark.parametrize("path", sorted(APP.rglob("*.py")), ids=lambda path: str(path.relative_to(APP)))
def test_each_begins_with_a_verb(path: Path) -> None:
    """A class: in the third person. All else: in the imperative."""
    assert not_verbs(path.read_text()) == {}


@pytest.mark.parametrize("word", ["The", "Whether", "Seconds", "How", "Returns", "Verdict"])
def test_what_is_no_verb_is_found(word: str) -> None:
    """Nor is the third person of a function one."""
    assert not_verbs(f'def told():\n    """{word} of it."""') == {"told": word.lower()}


@pytest.mark.parametrize("word", ["The", "What", "Hold", "Verdict"])
def test_a_class_says_what_it_does(word: str) -> None:
    """Neither what to do, nor only what it is."""
    assert not_verbs(f'class Told:\n    """{word} of it."""') == {"Told": word.lower()}
