"""Know which claims and adoptions on the wire may still put CDRs into our processing list."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Incoming:
    """Claims and adoptions that were sent and have not ended. One whose reply was lost has ended, too."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Event] = set()

    def __bool__(self) -> bool:
        return bool(self._under_way)

    @contextmanager
    def expected(self) -> Iterator[None]:
        """Stand around an operation, from before it is sent until what it has brought is in flight."""
        ended = asyncio.Event()
        self._under_way.add(ended)
        try:
            yield
        finally:
            self._under_way.discard(ended)
            ended.set()

    async def ended(self) -> None:
        """Wait until all have ended that are under way now; others may begin meanwhile."""
        for ended in tuple(self._under_way):
            await ended.wait()
