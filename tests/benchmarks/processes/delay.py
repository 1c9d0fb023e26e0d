"""A proxy to Redis that is far away: every byte arrives half a round trip later, either way.

Prints its port when it listens.
"""

import asyncio
import sys
from asyncio import StreamReader, StreamWriter

import uvloop

PIECE = 64 * 1024


async def pass_on(reader: StreamReader, writer: StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(PIECE):
        loop.call_later(delay, writer.write, data)
    loop.call_later(delay, writer.close)


async def main(redis_port: int, round_trip: float) -> None:
    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", redis_port)
        await asyncio.gather(
            pass_on(reader, redis_writer, round_trip / 2),
            pass_on(redis_reader, writer, round_trip / 2),
            return_exceptions=True,
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
