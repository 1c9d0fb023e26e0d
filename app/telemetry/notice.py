"""Write the notices that a chat shows: one plain sentence or two, and the same as fields."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

MINUTE = 60
HOUR = 3600
DAY = 24 * HOUR


@dataclass(frozen=True)
class Notice:
    """Holds what one POST tells. It has nothing secret, and nothing of a CDR.

    `event`: its name; `fields`: what else programs may want to know.
    """

    event: str
    text: str
    fields: dict[str, str | float]

    def body(self, *, is_bare: bool = False) -> bytes:
        """Return it as JSON; `is_bare`: only the text, for a chat that refuses fields that it does not know."""
        fields = {} if is_bare else {"event": self.event, **self.fields}
        return json.dumps({"text": self.text, **fields}).encode()


@dataclass(frozen=True)
class Writer:
    """Writes notices of one process."""

    integrator: str
    host: str

    def notice(self, event: str, sentence: str, **fields: str | float) -> Notice:
        """Return a notice. Fields that are empty are left out."""
        text = f"cdr-forwarder {self.integrator} on {self.host}: {sentence}"
        common: dict[str, str | float] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "integrator": self.integrator,
            "host": self.host,
        }
        return Notice(event, text, common | {name: value for name, value in fields.items() if value != ""})


def lasted(seconds: float) -> str:
    """Return a duration in words, with its two largest units."""
    whole = round(seconds)
    for unit, name, smaller, smaller_name in (
        (DAY, "d", HOUR, "h"),
        (HOUR, "h", MINUTE, "min"),
        (MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"


def cdrs(number: int) -> str:
    return f"{number:,} CDR{'' if number == 1 else 's'}"


def kinds(counts: Counter[str]) -> str:
    """Return what there were how many of, the most first."""
    return ", ".join(f"{kind}: {number:,}" if len(counts) > 1 else kind for kind, number in counts.most_common(5))
