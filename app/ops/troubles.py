"""List what is wrong with an installation, the worst first, in words that anybody may read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, Literal

from app.ops.observation import Observation
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


def troubles(observed: Observation, endpoints: Sequence[tuple[str, Condition, int]], zone: tzinfo) -> list[Trouble]:
    """List them. `endpoints`: the name, condition and number of dead letters of each."""
    found = [*_of_process(observed), *_of_redis(observed), *_told(observed.events, datetime.now(zone))]
    # Without Redis nothing is known of the endpoints.
    found += _of_endpoints(endpoints) if observed.redis_up else []
    return sorted(found, key=lambda trouble: WORST_FIRST.index(trouble.level))


def _of_process(observed: Observation) -> Iterator[Trouble]:
    if not observed.redis_up:
        # All else that makes it unready follows from that.
        if observed.first.link.outage.lasts:
            yield Trouble("bad", "Redis does not answer", f"{observed.unready[0]}: nothing is delivered")
        else:
            yield Trouble("bad", LOGIN_REFUSED, f"{LOGIN_REFUSED}: nothing is delivered; a wrong password?")
        return
    for reason in observed.unready:
        sentence = reason[:1].upper() + reason[1:]
        yield Trouble("bad", sentence.partition(":")[0], sentence)


def _of_redis(observed: Observation) -> Iterator[Trouble]:
    ratio, others = observed.first.sampler.memory_used_ratio or 0.0, observed.first.neighbours.foreign_consumers
    if ratio >= NEARLY_FULL:
        words = f"Redis uses {ratio:.0%} of its memory: when it is full, Enigma can write no CDR"
        yield Trouble("bad" if ratio >= FULL else "warning", "Redis is nearly full", words)
    if others:
        takers = "Another installation takes" if others == 1 else f"{others} other installations take"
        words = f"{takers} CDRs from the same list: each CDR reaches only one of them"
        yield Trouble("bad", "Somebody else takes CDRs", words)

    if number := observed.first.neighbours.poppers:
        # Not a warning: their list may be another one, and a warning that never ends is not read.
        takers = "Another client has" if number == 1 else f"{number} other clients have"
        words = f"{takers} taken from a list in this Redis: if it was ours, those CDRs are lost to us; see check"
        yield Trouble("good", "Other clients take from lists", words)


def _of_endpoints(endpoints: Sequence[tuple[str, Condition, int]]) -> Iterator[Trouble]:
    for name, condition, dead in endpoints:
        if (level := level_of(condition, dead)) != "good":
            short = SHORT.get(condition.state, DEAD_LETTERS if dead else CERTIFICATE)
            yield Trouble(level, f"{name} {short}", f"{name}: {condition.words}")


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
