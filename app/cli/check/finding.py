"""Hold the result of one check."""

from dataclasses import dataclass, replace
from typing import Literal, Self


@dataclass(frozen=True)
class Finding:
    """Says `what` was found, and in `advice` what to do. Neither holds a secret, or anything of a CDR."""

    level: Literal["ok", "warn", "fail"]
    what: str
    advice: str = ""

    def titled(self, title: str) -> Self:
        """Return the same finding behind a title."""
        return replace(self, what=f"{title}: {self.what}")


def ok(what: str) -> Finding:
    return Finding("ok", what)


def warn(what: str, advice: str) -> Finding:
    return Finding("warn", what, advice)


def fail(what: str, advice: str) -> Finding:
    return Finding("fail", what, advice)
