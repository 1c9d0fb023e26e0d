"""Decide what is told in notices, and when: at most one a minute of each kind, and never a wrong last word.

A subject is an endpoint, a Redis, or the dead letters of an endpoint. It knows what the chat was told of it last. What
is held back is no queue: when its time comes, the state at that moment is told, or nothing if the chat knows it.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from app.config.timings import Timings
from app.telemetry.notice import Notice, Writer
from app.telemetry.subjects import NEVER, DeadLetters, Lasting, Subject


class Notices:
    """Holds all subjects, and says which one has something to tell."""

    def __init__(self, writer: Writer, timings: Timings) -> None:
        self._writer, self._timings = writer, timings
        self._subjects: list[Subject] = []
        self._changed = asyncio.Event()

    def endpoint(self, name: str, place: str, waiting: Callable[[], int]) -> Lasting:
        """Return the subject of an endpoint. `place`: host and port; `waiting` counts what waits for it."""
        fields = {"endpoint": name, "place": place}
        return self._lasting("endpoint", f"endpoint {name} ({place})", fields, waiting)

    def redis(self, place: str, source: str = "") -> Lasting:
        """Return the subject of the Redis of a source; `source` is empty while there is only one."""
        of_source = f", of source {source}," if source else ""
        return self._lasting("redis", f"Redis ({place}){of_source}", {"place": place, "source": source})

    def dead_letters(self, endpoint: str) -> DeadLetters:
        """Return the subject of the dead letters of an endpoint."""
        subject = DeadLetters(endpoint, {"endpoint": endpoint}, self._writer, self._timings, self._changed.set)
        self._subjects.append(subject)
        return subject

    async def next(self) -> Subject:
        """Wait until a subject has something to tell, and return it."""
        while True:
            subject = min(self._subjects, key=lambda one: one.due_at)
            seconds = subject.due_at - time.monotonic()
            if seconds <= 0:
                return subject
            with suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == NEVER else seconds):
                    await self._changed.wait()
            self._changed.clear()

    def farewells(self) -> list[Notice]:
        """Return what must be told before the process ends."""
        return [notice for subject in self._subjects if (notice := subject.farewell())]

    def _lasting(
        self, event: str, name: str, fields: dict[str, str], waiting: Callable[[], int] | None = None
    ) -> Lasting:
        subject = Lasting(
            event=event,
            name=name,
            fields=fields,
            writer=self._writer,
            timings=self._timings,
            changed=self._changed.set,
            waiting=waiting,
        )
        self._subjects.append(subject)
        return subject
