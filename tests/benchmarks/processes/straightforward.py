"""The loop that a good engineer writes in an afternoon; what the forwarder is measured against.

It is safe where it counts: the CDR is moved atomically, and removed only after a 2xx. It has what costs nothing
to add: uvloop, hiredis, kept-alive connections, as many as there are tasks.
"""

import asyncio
import sys

import httpx
import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError

HEADERS = {"content-type": "application/json"}


async def forward(redis: Redis, http: httpx.AsyncClient, url: str, source: str, processing: str) -> None:
    while True:
        try:
            cdr = await redis.blmove(source, processing, 2, "LEFT", "RIGHT")
            if cdr is None:
                continue
            response = await http.post(url, content=cdr, headers=HEADERS)
            response.raise_for_status()
            await redis.lrem(processing, 1, cdr)  # type: ignore[arg-type] # bytes are right
        except (RedisError, httpx.HTTPError) as error:
            print(f"left in processing: {type(error).__name__}", file=sys.stderr, flush=True)


async def main(redis_url: str, url: str, source: str, processing: str, tasks: int) -> None:
    limits = httpx.Limits(max_connections=tasks, max_keepalive_connections=tasks)
    redis = Redis.from_url(redis_url, max_connections=2 * tasks)
    async with redis, httpx.AsyncClient(limits=limits) as http, asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(forward(redis, http, url, source, processing))
        print("ready", file=sys.stderr, flush=True)


if __name__ == "__main__":
    *where, number = sys.argv[1:]
    redis_url, url, source, processing = where
    uvloop.run(main(redis_url, url, source, processing, int(number)))
