"""Tell what Redis refuses, and when it does so no more."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from app.config.source import Source
from app.config.timings import Timings
from app.errors import ForwarderError, LoginRefusedError, OperatorRedisError, OutOfMemoryError
from app.telemetry import outages

Kind = Literal["login", "right", "type", "full", "other", "passing"]

LOGIN: Final = "AUTH"
STATES: Final[dict[Kind, str]] = {
    "login": "Redis refuses our login",
    "right": "Redis refuses us a command or a key",
    "type": "a key in Redis has the wrong type",
    "full": "Redis is full",
    "other": "Redis refuses a command",
    "passing": "Redis cannot do a command just now",
}
"""For strangers: without names, addresses, or what Redis said."""

ADVICE: Final[dict[Kind, str]] = {
    "login": "set the user name and password that Redis knows, in this variable or its file, and restart; "
    "or change them in Redis: then it goes on by itself",
    "right": "grant it to the ACL user: README, «In Redis», has the line; then it goes on by itself",
    "type": "rename the key, and find out who writes it; then it goes on by itself",
    "other": "look into the log of Redis; it is tried again",
}
NAMED_KEY: Final = re.compile(r"WRONGTYPE (\S+) is a ")


@dataclass(eq=False)
class Refusal:
    """Names one thing that Redis refuses, and the commands that met it."""

    kind: Kind
    outage: outages.Outage
    commands: set[str] = field(default_factory=set)
    met_at: float = 0.0


class Refusals:
    """Holds what Redis refuses now. A login is one refusal, however many commands meet it."""

    def __init__(self, source: Source, timings: Timings) -> None:
        self._source = source.name
        self._place = source.redis.shown_url
        self._login_variable = source.redis.password_variable
        self._reminder = timings.reminder
        self._forgotten_after = 2 * timings.look + timings.operator_pause
        self._lasting: dict[str, Refusal] = {}
        self.on_login: outages.Listener | None = None
        """Told when a login is refused: then nothing moves, as in an outage."""
        self.lacks_rights = False
        """The rehearsal at start found ACL permissions missing."""

    def note(self, command: str, error: ForwarderError) -> None:
        """Tell the first time that it is refused, and again every ten minutes if a person is needed."""
        kind = _kind(error)
        subject = LOGIN if kind == "login" else command
        refusal = self._lasting.setdefault(subject, Refusal(kind, self._outage(subject, kind, str(error))))
        refusal.commands.add(command)
        refusal.met_at = time.monotonic()
        refusal.outage.begin(str(error))

    def end(self, command: str) -> None:
        """Take note that Redis has done the command."""
        if not self._lasting:
            return
        for subject, refusal in list(self._lasting.items()):
            refusal.commands.discard(command)
            if not refusal.commands:
                self._lasting.pop(subject).outage.end()

    def type_is_right(self, command: str) -> None:
        """Take note that another command on the same keys was done. A missing right would still be missing."""
        if command in self._lasting and self._lasting[command].kind == "type":
            self.end(command)

    @property
    def refuses_login(self) -> bool:
        return LOGIN in self

    @property
    def states(self) -> list[str]:
        """Return in words what is refused."""
        kinds = {self._lasting[subject].kind for subject in self}
        return [words for kind, words in STATES.items() if kind in kinds or (kind == "right" and self.lacks_rights)]

    def __contains__(self, subject: str) -> bool:
        return subject in iter(self)

    def __iter__(self) -> Iterator[str]:
        """Yield what is refused, without what nobody has tried for long: an operator's request, for one."""
        earliest = time.monotonic() - self._forgotten_after
        self._lasting = {subject: one for subject, one in self._lasting.items() if one.met_at >= earliest}
        return iter(list(self._lasting))

    def __bool__(self) -> bool:
        return self.lacks_rights or bool(list(self))

    def _outage(self, subject: str, kind: Kind, error: str) -> outages.Outage:
        named = NAMED_KEY.search(error)
        fields = {"source": self._source, "command": subject, "place": self._place}
        if kind == "login":
            # The sentinels are asked first, and have a password of their own.
            fields["variable"] = "CDR_REDIS_SENTINEL_PASSWORD" if "No master" in error else self._login_variable
        if named:
            fields["key"] = named[1]
        level: outages.Level = "error" if kind in ADVICE else "warning"
        if kind in ADVICE:
            fields["advice"] = ADVICE[kind]
        made = outages.refused(level, self._reminder, **fields)
        made.listener = self.on_login if kind == "login" else None
        return made


def _kind(error: ForwarderError) -> Kind:
    if isinstance(error, LoginRefusedError):
        return "login"
    if isinstance(error, OperatorRedisError):
        return "type" if "WRONGTYPE" in str(error) else "right"
    if isinstance(error, OutOfMemoryError):
        return "full"
    # An answer that we do not know may need a person, so it is told as an error.
    return "passing" if getattr(error, "known", True) else "other"
