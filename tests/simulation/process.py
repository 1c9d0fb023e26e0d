"""A simulated operating-system process: whatever runs in its context belongs to it, and dies or freezes with it."""

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.simulation.network import Transport

PROCESS: Final[ContextVar["Process | None"]] = ContextVar("process", default=None)
"""Who runs. Tasks, timers and connections inherit it; None is the world outside: the network, the plan, the laws."""


@dataclass(eq=False)
class Process:
    """One incarnation: a process that starts again is another one."""

    name: str
    host: str
    skew: float = 0.0
    """Seconds by which its wall clock is wrong."""

    alive: bool = True
    frozen: bool = False
    thawed_at: float = -1.0
    held: list[asyncio.Handle] = field(default_factory=list)
    """Callbacks that wait for the end of a freeze."""
    graveyard: list[object] = field(default_factory=list)
    """What a dead process was about to do. Kept, since a coroutine that is freed runs its clean-up."""
    transports: dict["Transport", None] = field(default_factory=dict)
    signal_handlers: dict[int, Callable[[], Any]] = field(default_factory=dict)

    def context(self) -> Context:
        context = copy_context()
        context.run(PROCESS.set, self)
        return context

    def signal(self, number: int) -> None:
        """Deliver a signal to the handler that the process has installed, if it has one."""
        if self.alive and number in self.signal_handlers:
            self.context().run(self.signal_handlers[number])
