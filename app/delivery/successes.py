"""Remember whom an endpoint has accepted lately, to tell whose fault a failure is."""

from typing import Final

LONGEST: Final = 3_600_000
"""Milliseconds: hardly an attempt lasts so long. One that began so far before the latest says that the clock was set
back."""


class Successes:
    """Remembers the latest accepted attempt, and the latest one of another CDR.

    Times are milliseconds of Redis' clock at which the attempts began.
    """

    def __init__(self) -> None:
        self._latest = ("", 0)
        self._other = 0

    def note(self, webhook_id: str, began: int) -> None:
        latest_id, latest = self._latest
        if latest - began > LONGEST:
            self._latest, self._other = (webhook_id, began), 0
        elif webhook_id == latest_id:
            self._latest = webhook_id, max(began, latest)
        elif began >= latest:
            self._latest, self._other = (webhook_id, began), latest
        else:
            self._other = max(began, self._other)

    def include_another(self, webhook_id: str, moment: int) -> bool:
        """Tell whether another CDR was accepted by an attempt that began after `moment`."""
        latest_id, latest = self._latest
        return moment < (self._other if webhook_id == latest_id else latest)
