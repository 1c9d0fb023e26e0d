"""What is said of one thing that was looked at."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """`what` is a statement, `advice` what a person is to do. Neither holds a secret, or anything of a CDR."""

    level: Literal["ok", "warn", "fail"]
    what: str
    advice: str = ""


def ok(what: str) -> Finding:
    return Finding("ok", what)


def warn(what: str, advice: str) -> Finding:
    return Finding("warn", what, advice)


def fail(what: str, advice: str) -> Finding:
    return Finding("fail", what, advice)
