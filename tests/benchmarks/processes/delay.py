"""A proxy to Redis that is far away: every byte arrives half a round trip later, either way.

Prints its port when it listens.
"""

import asyncio
import sys
from typing import cast

import uvloop


class Side(asyncio.Protocol):
    """One side of a connection; what it hears, the other side says later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._transport: asyncio.Transport
        self.other: Side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._later(self.other.say, data)

    def connection_lost(self, _: Exception | None) -> None:
        if hasattr(self, "other"):
            self._later(self.other.hang_up)

    def say(self, data: bytes) -> None:
        self._transport.write(data)

    def hang_up(self) -> None:
        self._transport.close()

    def _later(self, what: object, *args: object) -> None:
        assert callable(what)
        asyncio.get_running_loop().call_later(self._delay, what, *args)


class Near(Side):
    """The forwarder's side. It reads nothing until Redis is there."""

    def __init__(self, delay: float, redis_port: int) -> None:
        super().__init__(delay)
        self._redis_port = redis_port
        self._dialling: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.pause_reading()
        self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        far = Side(self._delay)
        far.other, self.other = self, far
        await asyncio.get_running_loop().create_connection(lambda: far, "127.0.0.1", self._redis_port)
        self._transport.resume_reading()


async def main(redis_port: int, round_trip: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Near(round_trip / 2, redis_port), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
