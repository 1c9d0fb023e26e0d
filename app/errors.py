"""Define every error that this service raises by itself, as one tree."""


class ForwarderError(Exception):
    """Heads all errors of ours. Its text is one sentence for a person: what, where, and what to do."""


class ConfigurationError(ForwarderError):
    """Raised for a configuration that cannot work. Exit status 2; `problems` has one line for each problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RedisUnusableError(ForwarderError):
    """Raised for a Redis that answers, but that we cannot work with (too old, another installation)."""


class FencedError(ForwarderError):
    """Raised when our lease is gone: another process may own the processing list, so forget what it holds."""


class TransientRedisError(ForwarderError):
    """Raised when Redis could not do it now, but may do it in a moment.

    `away`: no answer came, so the command may have been applied. `known`: an answer that a healthy Redis
    gives now and then (in a failover, while a script runs); any other should be seen by a person.
    """

    def __init__(self, message: str, *, away: bool = False, known: bool = True) -> None:
        super().__init__(message)
        self.away = away
        self.known = known


class OutOfMemoryError(TransientRedisError):
    """Raised when Redis is over `maxmemory` and refuses what adds to it."""


class OperatorRedisError(ForwarderError):
    """Raised when a person must act: a wrong password, a missing right, a key of the wrong type."""


class LoginRefusedError(OperatorRedisError):
    """Raised when Redis, or a sentinel, does not accept our user name or password."""


class DamagedLetterError(ForwarderError):
    """Raised for a dead letter whose CDR cannot be restored; it can be shown and dropped."""


class CommandError(ForwarderError):
    """Raised when an operator's command cannot be carried out. Exit status 1."""


class UsageError(CommandError):
    """Raised when a command names something that there is not, or leaves out what it needs. Exit status 2."""
