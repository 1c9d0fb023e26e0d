"""Every error that this service raises by itself, as one tree."""


class ForwarderError(Exception):
    """The root: one sentence for a person that names what, where and what to do."""


class ConfigurationError(ForwarderError):
    """The configuration cannot work. Exit status 2; `problems` has one line for each thing that is wrong."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RedisUnusableError(ForwarderError):
    """Redis answers, but not as a Redis that we can work with (too old, another installation)."""


class FencedError(ForwarderError):
    """The lease of our processing list is gone and somebody else may own it: forget what it holds."""


class TransientRedisError(ForwarderError):
    """Redis could not do it now and may do it in a moment.

    `away`: no answer came, so the command may have been applied. `known`: an answer that a healthy Redis gives
    in the course of things (a failover, a script of somebody's); any other deserves a person's eye.
    """

    def __init__(self, message: str, *, away: bool = False, known: bool = True) -> None:
        super().__init__(message)
        self.away = away
        self.known = known


class OutOfMemoryError(TransientRedisError):
    """Redis is over `maxmemory` and refuses what adds to it."""


class OperatorRedisError(ForwarderError):
    """Redis will refuse it until a person acts: a wrong password, a missing right, a key of another type."""


class DamagedLetterError(ForwarderError):
    """A dead letter whose CDR cannot be had back; it can be shown and dropped."""


class CommandError(ForwarderError):
    """A command that an operator has typed cannot be carried out. Exit status 1."""
