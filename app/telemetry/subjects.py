"""Hold what notices are about, and what the chat was told of it last."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from app.config.timings import Timings
from app.telemetry.notice import Notice, Writer, cdrs, kinds, lasted

NEVER: Final = float("inf")
Change = Literal["lost", "back"]


class Subject(Protocol):
    """Names what notices are about."""

    @property
    def due_at(self) -> float:
        """Return when it has something to tell, on the monotonic clock."""

    def notice(self) -> Notice:
        """Return what is to be told of it now. What comes after that is for the next one."""

    def told(self, *, is_accepted: bool) -> None:
        """Take note of what came of the notice. What nobody accepted is told later, if it is still true."""

    def farewell(self) -> Notice | None:
        """Return what must be told before the process ends."""


class Lasting:
    """Follows what can be lost and come back: an endpoint, or a Redis. There may be several causes at once."""

    def __init__(  # noqa: PLR0913 - how it is told
        self,
        *,
        event: str,
        name: str,
        fields: dict[str, str],
        writer: Writer,
        timings: Timings,
        changed: Callable[[], None],
        waiting: Callable[[], int] | None = None,
    ) -> None:
        self._event, self._name, self._fields = event, name, fields
        self._writer, self._timings, self._changed, self._waiting = writer, timings, changed, waiting
        self._causes: dict[str, tuple[str, str]] = {}
        self._since = self._back_at = 0.0
        self._times = self._sent_times = 0
        self._not_before: dict[Change, float] = {"lost": 0.0, "back": 0.0}
        self._chat_knows: Change = "back"
        self._sending: Change = "back"

    def lost(self, cause: str, error: str, advice: str = "") -> None:
        """Take note that it is lost."""
        if not self._causes:
            self._times += 1
            if self._chat_knows == "back":
                self._since = time.monotonic()
        self._causes[cause] = (error, advice)
        self._changed()

    def back(self, cause: str) -> None:
        """Take note that this is no longer a cause."""
        if self._causes.pop(cause, None) and not self._causes:
            self._back_at = time.monotonic()
            self._changed()

    def cause(self, name: str) -> "Cause":
        """Return one of its causes, as a listener of an outage."""
        return Cause(self, name)

    @property
    def due_at(self) -> float:
        return NEVER if self._state == self._chat_knows else self._not_before[self._state]

    @property
    def _state(self) -> Change:
        return "lost" if self._causes else "back"

    def notice(self) -> Notice:
        self._sending, self._sent_times = self._state, self._times
        self._not_before[self._sending] = time.monotonic() + self._timings.notice_pause
        return self._lost() if self._causes else self._back()

    def told(self, *, is_accepted: bool) -> None:
        if is_accepted:
            self._chat_knows = self._sending
            self._times -= self._sent_times
        else:
            self._not_before[self._sending] = time.monotonic() + self._timings.reminder

    def farewell(self) -> Notice | None:
        if self._chat_knows == "back":
            return None
        if not self._causes:
            return self._back()
        sentence = f"stops while {self._name} is down. The next process tells if it still is."
        return self._writer.notice("service.stopping", sentence, **self._fields)

    def _lost(self) -> Notice:
        error, advice = next(reversed(self._causes.values()))
        wait, counted = self._what_waits("; none is lost.")
        since = time.monotonic() - self._since
        sentence = f"{self._name} is down{_for(since)}: {error}.{self._often(1)}{wait}"
        if advice:
            sentence += f" A person is needed: {advice}."
        fields = self._fields | counted | {"error": error, "advice": advice, "after": round(since, 3)}
        return self._writer.notice(f"{self._event}.lost", sentence, **fields)

    def _back(self) -> Notice:
        wait, counted = self._what_waits(" for it.")
        after = self._back_at - self._since
        sentence = f"{self._name} is back after {lasted(after)}.{self._often(0)}{wait}"
        return self._writer.notice(f"{self._event}.back", sentence, **self._fields, **counted, after=round(after, 3))

    def _what_waits(self, end: str) -> tuple[str, dict[str, str | float]]:
        """Return a sentence with that end, if anything waits, and the field, if that is counted."""
        if not self._waiting:
            return "", {}
        number = self._waiting()
        sentence = f" {cdrs(number)} wait{'s' if number == 1 else ''}{end}" if number else ""
        return sentence, {"waiting": number}

    def _often(self, known: int) -> str:
        more = self._times - known
        return f" It was down {more} more time{'' if more == 1 else 's'} since the last notice." if more > 0 else ""


@dataclass(frozen=True)
class Cause:
    """Names one reason for which a subject may be lost."""

    subject: Lasting
    name: str

    def lost(self, error: str, advice: str = "") -> None:
        self.subject.lost(self.name, error, advice)

    def back(self) -> None:
        self.subject.back(self.name)


class DeadLetters:
    """Counts the dead letters of one endpoint: the first of an hour is told at once, the others when it is over."""

    def __init__(
        self, endpoint: str, fields: dict[str, str], writer: Writer, timings: Timings, changed: Callable[[], None]
    ) -> None:
        self._endpoint, self._fields = endpoint, fields
        self._writer, self._timings, self._changed = writer, timings, changed
        self._counts: Counter[str] = Counter()
        self._sending: Counter[str] = Counter()
        self._not_before = 0.0

    def add(self, reasons: Counter[str]) -> None:
        """Take note of new ones, by their reasons."""
        self._counts += reasons
        self._changed()

    @property
    def due_at(self) -> float:
        return self._not_before if self._counts else NEVER

    def notice(self) -> Notice:
        self._not_before = time.monotonic() + self._timings.notice_hour
        self._sending, self._counts = self._counts, Counter()
        number = self._sending.total()
        became = "became a dead letter" if number == 1 else "became dead letters"
        sentence = (
            f"{cdrs(number)} {became} at endpoint {self._endpoint}, {kinds(self._sending)}. "
            "They are kept: find out why with `cdr-forwarder dead-letters list`, then replay or drop them."
        )
        return self._writer.notice("cdrs.dead_lettered", sentence, **self._fields, number=number)

    def told(self, *, is_accepted: bool) -> None:
        if not is_accepted:
            self._counts += self._sending
            self._not_before = time.monotonic() + self._timings.reminder

    def farewell(self) -> Notice | None:
        return self.notice() if self.due_at <= time.monotonic() else None


def _for(seconds: float) -> str:
    return f" for {lasted(seconds)}" if seconds >= 1 else ""
