"""The data of a simulated Redis: keys, expiry, rights, memory, scripts, and what each write has changed.

It is our own, because fakeredis makes a new Lua state for every script (170 µs against 13 µs), and knows neither
rights, nor a full memory, nor how to forget its last writes. `test_differential.py` compares it with real servers.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from tests.simulation.redis.values import TYPE_NAMES, WRONG_TYPE, RedisError, Reply, SortedSet, Value, copy_of

V = TypeVar("V", bytes, list[bytes], dict[bytes, bytes], SortedSet)

Command = Callable[["Engine", list[bytes]], Reply]

HISTORY: Final = 512
"""How many of the last writes can be forgotten."""

READ_ONLY: Final = "READONLY You can't write against a read only replica."
OUT_OF_MEMORY: Final = "OOM command not allowed when used memory > 'maxmemory'."


@dataclass(frozen=True)
class Entry:
    """One command of the table. `arity` counts the name, and is negative where more may follow."""

    run: Command
    arity: int
    writes: bool = False
    grows: bool = False
    """Refused where the memory is full."""
    in_scripts: bool = True


COMMANDS: Final[dict[bytes, Entry]] = {}


def command(name: str, arity: int, flags: str = "") -> Callable[[Command], Command]:
    """Register a command. `flags`: w writes, m needs memory, s is not for scripts."""

    def register(run: Command) -> Command:
        COMMANDS[name.encode()] = Entry(run, arity, "w" in flags, "m" in flags, "s" not in flags)
        return run

    return register


@dataclass(frozen=True)
class Before:
    """A key as it was before a write."""

    value: Value | None
    expires: int | None


Changes = Mapping[bytes, Before]


@dataclass(eq=False)
class Engine:
    """Executes one command at a time. `clock` is the wall clock in microseconds."""

    clock: Callable[[], int]
    version: tuple[int, int] = (7, 0)
    data: dict[bytes, Value] = field(default_factory=dict)
    expires: dict[bytes, int] = field(default_factory=dict)
    scripts: dict[bytes, bytes] = field(default_factory=dict)
    changes: dict[bytes, Before] = field(default_factory=dict)
    """Of the unit that runs now: a command, or a whole script."""
    history: deque[dict[bytes, Before]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    denied: set[bytes] = field(default_factory=set)
    locked: set[bytes] = field(default_factory=set)
    """Keys that may be read and not written."""
    locked_inside: set[bytes] = field(default_factory=set)
    """The same, but scripts may be given them: only what a script does with them is refused."""
    mistyped: set[bytes] = field(default_factory=set)
    """Keys to which somebody else has written."""
    flushed: set[bytes] = field(default_factory=set)
    """Scripts that were known once."""
    met: Counter[str] = field(default_factory=Counter)
    """How often a command met what was done to the server, by the kind of fault."""
    full: bool = False
    read_only: bool = False
    in_script: bool = False
    wrote_in_script: bool = False
    run_script: Callable[["Engine", bytes, list[bytes], list[bytes]], Reply] | None = None

    # Time.

    def now(self) -> int:
        return self.clock() // 1000

    def _expire(self, key: bytes) -> None:
        if key in self.expires and self.expires[key] <= self.now():
            del self.expires[key]
            self.data.pop(key, None)

    # Reading.

    def get(self, key: bytes, kind: type[V]) -> V | None:
        """Return the value. Raises WRONGTYPE."""
        if key in self.expires:
            self._expire(key)
        value = self.data.get(key)
        if value is None or isinstance(value, kind):
            return value
        self.met["type"] += key in self.mistyped
        raise RedisError(WRONG_TYPE)

    def any(self, key: bytes) -> Value | None:
        if key in self.expires:
            self._expire(key)
        return self.data.get(key)

    def type_name(self, key: bytes) -> bytes:
        value = self.any(key)
        self.met["type"] += key in self.mistyped
        return b"none" if value is None else TYPE_NAMES[type(value)]

    def every_key(self) -> list[bytes]:
        for key in list(self.expires):
            self._expire(key)
        return list(self.data)

    # Writing: `touch` comes before every change.

    def touch(self, key: bytes) -> None:
        if key not in self.changes:
            value = self.data.get(key)
            self.changes[key] = Before(None if value is None else copy_of(value), self.expires.get(key))

    def changing(self, key: bytes, kind: type[V]) -> V:
        """Return the value to be changed in place; an empty one where there is none."""
        value = self.get(key, kind)
        self.touch(key)
        if value is None:
            value = kind()
            self.data[key] = value
        return value

    def put(self, key: bytes, value: Value, expires: int | None = None) -> None:
        self.touch(key)
        self.data[key] = value
        self.expires.pop(key, None)
        if expires is not None:
            self.expires[key] = expires

    def drop(self, key: bytes) -> bool:
        if self.any(key) is None:
            return False
        self.touch(key)
        del self.data[key]
        self.expires.pop(key, None)
        return True

    def tidy(self, key: bytes) -> None:
        """Remove a collection that has become empty."""
        if not self.data.get(key, b"-"):
            del self.data[key]
            self.expires.pop(key, None)

    # Executing.

    def execute(self, args: list[bytes]) -> Reply:
        """Run one command; errors are replies, too."""
        try:
            return self._entry(args).run(self, args)
        except RedisError as error:
            return error

    def unchecked(self, args: list[bytes]) -> Reply:
        """Run what was allowed when it came, and has waited since."""
        try:
            return COMMANDS[args[0].lower()].run(self, args)
        except RedisError as error:
            return error

    def take_changes(self) -> dict[bytes, Before]:
        """End a unit: return what it has changed, and remember it as one write."""
        changes = {key: before for key, before in self.changes.items() if self._has_changed(key, before)}
        self.changes = {}
        if changes:
            self.history.append(changes)
        return changes

    def _has_changed(self, key: bytes, before: Before) -> bool:
        now = self.data.get(key)
        if self.expires.get(key) != before.expires or type(now) is not type(before.value):
            return True
        if isinstance(now, bytes | list | dict) or now is None:
            return now != before.value
        return now.scores != getattr(before.value, "scores", None)

    def undo(self, changes: Changes) -> None:
        for key, before in changes.items():
            self.data.pop(key, None)
            self.expires.pop(key, None)
            if before.value is not None:
                self.data[key] = copy_of(before.value)
                if before.expires is not None:
                    self.expires[key] = before.expires

    def _entry(self, args: list[bytes]) -> Entry:
        name = args[0].lower()
        entry = COMMANDS.get(name)
        if entry is None:
            raise RedisError(self._unknown(args))
        if self.in_script and not entry.in_scripts:
            raise RedisError("ERR This Redis command is not allowed from script")
        if len(args) != entry.arity if entry.arity > 0 else len(args) < -entry.arity:
            said = f"wrong number of arguments for '{name.decode()}' command"
            raise RedisError(
                "ERR Wrong number of args calling Redis command from script" if self.in_script else f"ERR {said}"
            )
        if name in self.denied:
            raise self._refusal("right", self.no_permission(name.decode()))
        if (self.locked or self.locked_inside) and self._is_locked(entry, args):
            raise self._refusal("lock", self._no_key())
        if entry.writes and self.read_only:
            raise self._refusal("failover", READ_ONLY)
        if entry.grows and self.full and not self.wrote_in_script:
            raise self._refusal("full", OUT_OF_MEMORY)
        if self.in_script and entry.writes:
            self.wrote_in_script = True
        return entry

    def _is_locked(self, entry: Entry, args: list[bytes]) -> bool:
        written = _written(entry, args)
        if not self.locked.isdisjoint(written):
            return True
        return entry.writes and not self.locked_inside.isdisjoint(written)

    def _refusal(self, fault: str, text: str) -> RedisError:
        self.met[fault] += 1
        return RedisError(text)

    def _unknown(self, args: list[bytes]) -> str:
        if self.in_script:
            return "ERR Unknown Redis command called from script"
        return f"ERR unknown command '{args[0].decode(errors='replace')}', with args beginning with: "

    def no_permission(self, name: str) -> str:
        if self.in_script:
            if self.version >= (7, 2):
                return f"ERR ACL failure in script: User default has no permissions to run the '{name}' command"
            return "NOPERM The user executing the script can't run this command or subcommand"
        user = "User default" if self.version >= (7, 2) else "this user"
        return f"NOPERM {user} has no permissions to run the '{name}' command"

    def _no_key(self) -> str:
        if self.in_script:
            if self.version >= (7, 2):
                return "ERR ACL failure in script: No permissions to access a key"
            return "ERR The user executing the script can't access at least one of the keys mentioned"
        return "NOPERM No permissions to access a key"


def _written(entry: Entry, args: list[bytes]) -> list[bytes]:
    """Return the keys that a command may write to; of a script, all that it is given."""
    if args[0].lower() in (b"eval", b"evalsha") and args[2].isdigit():
        return args[3 : 3 + int(args[2])]
    return args[1:3] if entry.writes else []
