"""Wake a loop that waits."""

import asyncio
from contextlib import suppress


class Signal:
    """Says that something may have changed. A loop clears it by waiting for it, and then looks at everything anew."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Return when it is set, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
