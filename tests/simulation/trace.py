"""The story of one run, in terms of CDRs."""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

from tests.simulation.keys import Place

DONE: Final[dict[tuple[str, str], str]] = {
    ("source", "processing"): "claims",
    ("pending", "processing"): "claims",
    ("processing", "pending"): "gives back",
    ("processing", "source"): "gives back",
    ("processing", "retry"): "defers",
    ("retrying", "retry"): "defers again",
    ("retry", "retrying"): "takes what is due:",
    ("processing", "dead"): "dead-letters",
    ("retrying", "dead"): "dead-letters",
    ("retry", "dead"): "dead-letters",
    ("dead", "retry"): "replays",
    ("dead", "pending"): "replays",
    ("dead", "source"): "replays",
    ("dead", "processing"): "takes back",
    ("processing", "processing"): "adopts",
    ("processing", ""): "acks",
    ("retrying", ""): "acks",
    ("retry", ""): "acks",
    ("dead", ""): "drops",
    ("", "source"): "pushes",
}


class Trace:
    """Events are kept as they are, and put into words only when somebody reads them."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.names: dict[bytes, str] = {}

    def name(self, payload: bytes) -> str:
        return self.names.get(payload, f"<{payload[:20]!r}>")

    def note(self, at: float, text: str) -> None:
        self.events.append((at, text))

    def unit(self, at: float, who: str, args: list[bytes], places: list[tuple[Place, Counter[bytes]]]) -> None:
        self.events.append((at, who, args[0].decode().lower(), places))

    def digest(self) -> str:
        """Return a hash of the whole story."""
        told = blake2b(digest_size=12)
        for event in self.events:
            told.update(repr(event).encode())
        return told.hexdigest()

    def lines(self) -> Iterable[str]:
        for event in self.events:
            if len(event) == 2:
                yield f"{event[0]:9.3f}  {event[1]}"
            else:
                at, who, command, places = event
                for told in self._told(who, command, places):
                    yield f"{at:9.3f}  {told}"

    def _told(self, who: str, command: str, places: list[tuple[Place, Counter[bytes]]]) -> Iterable[str]:
        payloads = dict.fromkeys(payload for _, delta in places for payload in delta)
        by_way: dict[str, list[str]] = {}
        for payload in payloads:
            sources = [place for place, delta in places if delta[payload] < 0]
            targets = [place for place, delta in places if delta[payload] > 0]
            number = max(abs(delta[payload]) for _, delta in places)
            kinds = (sources[0].kind if sources else "", targets[0].kind if targets else "")
            verb = DONE.get(kinds, "distributes" if len(targets) > 1 or kinds[1] == "pending" else "moves")
            way = " → ".join(", ".join(map(str, ends)) for ends in (sources, targets) if ends)
            name = self.name(payload) + (f" x{number}" if number > 1 else "")
            by_way.setdefault(f"{who} {verb} {{}} ({way}; {command})", []).append(name)
        for told, names in by_way.items():
            yield told.format(", ".join(names))
