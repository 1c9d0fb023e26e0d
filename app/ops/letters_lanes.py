"""Hold the dead letters of every source for the operator server, which leaves out a source that does not answer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.dead_letters.lanes import Lane
from app.dead_letters.store import DeadStore
from app.errors import CommandError, ForwarderError
from app.ops.observation import ObservedSource
from app.store.keys import LaneKeys, Topology


@dataclass(frozen=True)
class LetterLane:
    """Holds one lane. `name`: how requests and answers call it; the endpoint, where there is one source."""

    name: str
    lane: Lane
    source: ObservedSource
    keys: LaneKeys

    @property
    def store(self) -> DeadStore:
        return DeadStore(self.source.link, self.keys)


class LetterLanes:
    """Holds all lanes of a process."""

    def __init__(self, sources: Sequence[ObservedSource]) -> None:
        self._several = len(sources) > 1
        self._sources = {source.name: source for source in sources}
        self._all = [self._lane(one, name, keys) for one in sources for name, keys in _keys(one).items()]

    @property
    def by_name(self) -> dict[str, LetterLane]:
        return {one.name: one for one in self._all}

    def chosen(self, wanted: Mapping[str, Any]) -> "Looked":
        """Return those of a source and of an endpoint, each of which may be left open. Raises CommandError."""
        source, endpoint = wanted.get("source"), wanted.get("endpoint")
        if source is not None and source not in self._sources:
            raise CommandError(f"there is no such source; there are {', '.join(self._sources)}")
        names = dict.fromkeys(one.lane.endpoint for one in self._all)
        if endpoint is not None and endpoint not in names:
            raise CommandError(f"there is no such endpoint; there are {', '.join(names)}")
        of_source = [one for one in self._all if source in {None, one.lane.source}]
        return Looked([one for one in of_source if endpoint in {None, one.lane.endpoint}], several=self._several)

    def _lane(self, source: ObservedSource, endpoint: str, keys: LaneKeys) -> LetterLane:
        name = f"{source.name}:{endpoint}" if self._several else endpoint
        return LetterLane(name, Lane(source.name, endpoint), source, keys)


@dataclass
class Looked:
    """Holds the lanes of one request, and the sources that it could not read."""

    lanes: list[LetterLane]
    several: bool
    failed: dict[str, ForwarderError] = field(default_factory=dict)

    def __iter__(self) -> Iterator[LetterLane]:
        """Yield each lane whose source has not failed. Nobody waits for a Redis that is known to be away."""
        for one in self.lanes:
            if self.several and not one.source.redis_up:
                self.failed.setdefault(one.lane.source, ForwarderError("Redis does not answer"))
            if one.lane.source not in self.failed:
                yield one

    @contextmanager
    def surviving(self, one: LetterLane) -> Iterator[None]:
        """Go on with other sources if this one fails, where there are others."""
        try:
            yield
        except CommandError:
            raise
        except ForwarderError as error:
            if not self.several:
                raise
            self.failed[one.lane.source] = error

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the answer with the names of the sources that are not in it. Raises if it has none."""
        if self.failed and {one.lane.source for one in self.lanes} <= self.failed.keys():
            raise next(iter(self.failed.values()))
        return answer | ({"unread": list(self.failed)} if self.several else {})


def _keys(source: ObservedSource) -> dict[str, LaneKeys]:
    return Topology(source.link.source).lanes
