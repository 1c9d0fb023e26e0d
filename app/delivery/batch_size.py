"""Know how much one POST may carry."""

import time

from app.config.batch import BatchSettings
from app.config.timings import Timings


class BatchSize:
    """Limits what a batch for an endpoint may hold. What fails comes back in halves, until the offender is alone."""

    def __init__(self, settings: BatchSettings, timings: Timings) -> None:
        self._cdrs, self._bytes = settings.batch_size, settings.batch_bytes
        self._timings = timings
        self._smaller, self._smaller_until = self._bytes, 0.0

    def cdrs(self, attempts: int) -> int:
        """Return how many CDRs that were attempted so often may share a batch."""
        return max(1, self._cdrs >> attempts)

    @property
    def bytes(self) -> int:
        """Return how large its body may be."""
        return self._smaller if time.monotonic() < self._smaller_until else self._bytes

    def too_large(self, size: int) -> None:
        """Remember for a while that the endpoint has answered 413 to a body of `size` bytes.

        Several on the wire have about the same size, so that they count as one.
        """
        self._smaller = min(self.bytes, size // 2)
        self._smaller_until = time.monotonic() + self._timings.smaller_batches
