"""Let CDRs wait for others with which they share a batch."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from app.cdr import Cdr, Origin
from app.delivery.batch import BatchForm
from app.delivery.batch_size import BatchSize
from app.lane.inbox import Inbox

FARTHEST: Final = 1000
"""CDRs that are passed over in search of those that may share a batch."""


class BatchInbox(Inbox):
    """Hands out the CDRs of an endpoint that takes batches.

    New CDRs wait here, and not in a worker's hands, until they fill a batch or the oldest has waited for `linger`
    seconds: whatever comes meanwhile, a stop or a hold, concerns them like all others. Retried ones wait for nothing.
    """

    def __init__(self, concurrency: int, form: BatchForm, size: BatchSize, linger: float) -> None:
        super().__init__(concurrency)
        self.form, self._size, self._linger = form, size, linger
        self._new_bytes = 0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def is_ready(self) -> bool:
        return bool(self._retried) or self._fills_batch

    def put(self, cdrs: Iterable[Cdr]) -> None:
        for cdr in cdrs:
            if cdr.origin is Origin.RETRY:
                self._retried.append(cdr)
            else:
                self._new.append(cdr)
                self._new_bytes += self._size_of(cdr)
        self._tell()

    def take_batch(self) -> list[Cdr]:
        """Return CDRs for one POST; none where there is no batch.

        Call `done` once for each batch, with any of its CDRs.
        """
        batch: list[Cdr] = []
        if self._retried and self._may_retry():
            self._retrying += 1
            self._turn_of_new = True
            batch, _ = self._batch_of(self._retried)
        else:
            self._turn_of_new = False
            if self._fills_batch:
                batch, taken = self._batch_of(self._new)
                self._new_bytes -= taken
        self._tell()
        return batch

    def take_new(self) -> Cdr | None:
        cdr = super().take_new()
        self._new_bytes -= self._size_of(cdr) if cdr else 0
        return cdr

    def take_back(self) -> list[Cdr]:
        self._new_bytes = 0
        return super().take_back()

    @property
    def _fills_batch(self) -> bool:
        """Tell whether the new ones are worth a POST."""
        new = self._new
        return bool(new) and (
            len(new) >= self._size.cdrs(0)
            or self._new_bytes >= self._size.bytes
            or time.monotonic() >= new[0].claimed_at + self._linger
        )

    def _batch_of(self, queue: deque[Cdr]) -> tuple[list[Cdr], int]:
        """Take the oldest, and others that may share its batch: with as many attempts, and within the limits.

        Return them, and how many bytes they take.
        """
        batch, passed_over = [queue.popleft()], list[Cdr]()
        attempts, taken, limit = batch[0].history.attempts, self._size_of(batch[0]), self._size.bytes
        most = self._size.cdrs(attempts)
        if most == 1 or not self.form.takes(batch[0].body):
            return batch, taken
        while queue and len(batch) < most and len(passed_over) < FARTHEST:
            size = self._size_of(queue[0])
            if taken + size > limit:
                break
            cdr = queue.popleft()
            if cdr.history.attempts == attempts and self.form.takes(cdr.body):
                batch.append(cdr)
                taken += size
            else:
                passed_over.append(cdr)
        queue.extendleft(reversed(passed_over))
        return batch, taken

    def _may_retry(self) -> bool:
        return not self._fills_batch or super()._may_retry()

    def _size_of(self, cdr: Cdr) -> int:
        return len(cdr.body) + self.form.overhead

    def _tell(self) -> None:
        """Wake a worker if there is a batch; otherwise, when there will be one."""
        if self.is_ready:
            self.wake_one()
        elif self._new and self._alarm is None:
            lasts = self._new[0].claimed_at + self._linger - time.monotonic()
            self._alarm = asyncio.get_running_loop().call_later(lasts, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._tell()
