"""Share the attempts of one endpoint among the lanes of several sources."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.cdr import Cdr
from app.delivery.successes import Successes

if TYPE_CHECKING:
    from app.delivery.gate import Gate


class Turn:
    """Keeps one lane's side of the gate: how many of the attempts are its own, and whom the endpoint has accepted.

    `now`: ms of the Redis clock of its source. `wants`: whether a CDR could be attempted; `wake`: has a worker look.
    """

    def __init__(
        self, gate: "Gate", now: Callable[[], int], wants: Callable[[], bool], wake: Callable[[], object]
    ) -> None:
        self.now, self.wants, self.wake = now, wants, wake
        self.used = 0
        self.successes = Successes()
        self._gate = gate
        self.served = 0

    def admits(self) -> bool:
        """Tell whether an attempt may begin now, and count it: it must be made, and `release` must follow."""
        gate = self._gate
        if len(gate.turns) > 1 and not self._is_next():
            return False
        if not gate.admits():
            return False
        self.used += 1
        if len(gate.turns) > 1:
            self.served = gate.serve()
            self.pass_on()
        return True

    def release(self) -> None:
        """Take note that an attempt has ended."""
        self.used -= 1
        self.pass_on()

    def pass_on(self) -> None:
        """Have the other lanes look, if another attempt may begin: this one does not begin it, or not alone."""
        gate = self._gate
        if len(gate.turns) > 1 and gate.free > 0:
            for other in self._others():
                other.wake()

    def is_strike(self, cdr: Cdr) -> bool:
        """Tell whether a failure now says something about this CDR: others were accepted since its last one."""
        last = cdr.history.last_failed_at
        return last > 0 and self.successes.include_another(cdr.webhook_id, last)

    def record_success(self, cdr: Cdr, began: int) -> None:
        """Take note of a 2xx to an attempt that began at `began` (ms of Redis' clock).

        Each lane has a Redis, and with it a clock of its own.
        """
        self.successes.note(cdr.webhook_id, began)
        for turn in self._gate.turns:
            if turn is not self:
                turn.successes.note(cdr.webhook_id, began - self.now() + turn.now())
        self._gate.record_success()

    def _is_next(self) -> bool:
        """Tell whether no other lane comes first; where one does, have it look.

        The one with fewer attempts comes first, then the one that was served longer ago.
        """
        free, others = self._gate.free, self._others()
        if free <= 0:
            return False
        if others and (free <= len(others) or self._gate.is_rate_limited):
            first = min(others, key=_order)
            if _order(first) < _order(self):
                first.wake()
                return False
        return True

    def _others(self) -> list["Turn"]:
        return [turn for turn in self._gate.turns if turn is not self and turn.wants()]


def _order(turn: Turn) -> tuple[int, int]:
    return turn.used, turn.served
