"""List what is wrong with an installation, the worst first, in words that anybody may read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, Literal

from app.ops.observation import Observation, ObservedSource
from app.ops.words import Condition, State, clock

Level = Literal["bad", "warning", "good"]

LEVELS: Final[dict[State, Level]] = {
    **dict.fromkeys(("down", "failing", "unknown"), "bad"),
    **dict.fromkeys(("held", "retrying"), "warning"),
}
SHORT: Final[dict[State, str]] = {
    "down": "is down",
    "failing": "accepts nothing",
    "unknown": "is served by no process",
    "held": "asked for time",
    "retrying": "has CDRs that are tried again",
}
DEAD_LETTERS: Final = "has dead letters"
CERTIFICATE: Final = "has a certificate that ends soon"

WORST_FIRST: Final[tuple[Level, ...]] = ("bad", "warning", "good")

LOGIN_REFUSED: Final = "Redis refuses our login"

FULL: Final = 0.95
NEARLY_FULL: Final = 0.8
"""Parts of the memory that Redis may use."""

A_DAY: Final = timedelta(days=1)
A_WHILE: Final = timedelta(minutes=3)
"""An event that is told every minute, while it lasts, is at most so old."""


@dataclass(frozen=True)
class Trouble:
    """Says what is wrong. `level`: whether somebody must act now; `short`: for a title; `words`: one sentence."""

    level: Level
    short: str
    words: str


def level_of(condition: Condition, dead: int) -> Level:
    """Return how bad the condition of an endpoint is. Dead letters want a decision, but not at once."""
    level = LEVELS.get(condition.state, "good")
    return "warning" if level == "good" and (dead or condition.certificate_ends_soon) else level


@dataclass(frozen=True)
class Judged:
    """Holds what is known of one lane: its name (with its source, where there are several), condition, dead letters."""

    endpoint: str
    name: str
    condition: Condition
    dead: int


def troubles(observed: Observation, lanes: Sequence[Judged], zone: tzinfo) -> list[Trouble]:
    """List them. `lanes`: those of sources whose Redis answers; without it nothing is known of them."""
    found = [*_of_process(observed), *_told(observed.events, datetime.now(zone))]
    for source in observed.sources:
        title = f"source {source.name}: " if len(observed.sources) > 1 else ""
        found += _of_redis(source, title)
    return sorted([*found, *_of_lanes(lanes)], key=lambda trouble: WORST_FIRST.index(trouble.level))


def _of_process(observed: Observation) -> Iterator[Trouble]:
    several = len(observed.sources) > 1
    for source in observed.sources:
        if not source.redis_up:
            # All else that makes it unready follows from that.
            yield _of_outage(source, f"source {source.name}: " if several else "")
    away = [source.name for source in observed.sources if not source.redis_up]
    for reason in observed.unready:
        if not away or (several and not any(reason.startswith(f"source {name}: ") for name in away)):
            sentence = reason[:1].upper() + reason[1:]
            yield Trouble("bad", _short(sentence, several=several), sentence)


def _short(sentence: str, *, several: bool) -> str:
    parts = sentence.split(":")
    return ":".join(parts[:2] if several else parts[:1])


def _of_outage(source: ObservedSource, title: str) -> Trouble:
    what = "Redis does not answer" if source.link.outage.lasts else LOGIN_REFUSED
    why = f"{source.unready[0]}: nothing is delivered"
    words = why if source.link.outage.lasts else f"{LOGIN_REFUSED}: nothing is delivered; a wrong password?"
    return Trouble("bad", _capital(f"{title}{what}"), _capital(f"{title}{words}"))


def _of_redis(source: ObservedSource, title: str) -> Iterator[Trouble]:
    ratio, others = source.sampler.memory_used_ratio or 0.0, source.neighbours.foreign_consumers
    if ratio >= NEARLY_FULL:
        words = f"{title}Redis uses {ratio:.0%} of its memory: when it is full, Enigma can write no CDR"
        yield Trouble("bad" if ratio >= FULL else "warning", "Redis is nearly full", _capital(words))
    if others:
        takers = "Another installation takes" if others == 1 else f"{others} other installations take"
        words = f"{title}{takers} CDRs from the same list: each CDR reaches only one of them"
        yield Trouble("bad", "Somebody else takes CDRs", _capital(words))

    if number := source.neighbours.poppers:
        # Not a warning: their list may be another one, and a warning that never ends is not read.
        takers = "Another client has" if number == 1 else f"{number} other clients have"
        words = f"{title}{takers} taken from a list in this Redis: if it was ours, those CDRs are lost to us; see check"
        yield Trouble("good", "Other clients take from lists", _capital(words))


def _of_lanes(lanes: Sequence[Judged]) -> Iterator[Trouble]:
    for lane in lanes:
        if (level := level_of(lane.condition, lane.dead)) != "good":
            short = SHORT.get(lane.condition.state, DEAD_LETTERS if lane.dead else CERTIFICATE)
            yield Trouble(level, f"{lane.endpoint} {short}", f"{lane.name}: {lane.condition.words}")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _told(events: Iterable[dict[str, Any]], now: datetime) -> Iterator[Trouble]:
    """Yield what only the log knows."""
    last = {event["event"]: datetime.fromisoformat(event["timestamp"]) for event in events if "timestamp" in event}
    never = datetime.min.replace(tzinfo=UTC)
    if now - (emptied := last.get("redis.emptied", never)) < A_DAY:
        words = f"Redis lost what it had at {clock(emptied, now)}: CDRs may be missing, look for a gap"
        yield Trouble("bad", "Redis lost data", words)
    if now - last.get("installation.differs", never) < A_WHILE:
        words = "The processes have different configurations; normal while a change is rolled out"
        yield Trouble("warning", "Configurations differ", words)
