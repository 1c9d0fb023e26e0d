"""A receiver over a real socket that remembers what it got, and can be made to keep callers waiting."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from app.demo.sample_endpoint import Arrival, SampleEndpoint


class Receiver(SampleEndpoint):
    """`gate` closed: requests arrive and are not answered."""

    def __init__(self) -> None:
        super().__init__(self._note)
        self.arrivals: list[Arrival] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_the_gate = 0

    @property
    def bodies(self) -> Counter[bytes]:
        """Count what was answered 2xx."""
        return Counter(arrival.body for arrival in self.arrivals if arrival.taken)

    @property
    def refusals(self) -> Counter[bytes]:
        return Counter(arrival.body for arrival in self.arrivals if not arrival.taken)

    def _note(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)

    async def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        self.at_the_gate += 1
        try:
            await self.gate.wait()
        finally:
            self.at_the_gate -= 1
        return await super().receive(headers, body)
