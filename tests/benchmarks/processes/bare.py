"""The least that can be between an RPUSH and a request: one BLMOVE and one write to a socket, nothing in between.

What the forwarder's latency is measured against. Only blocking sockets; the CDR is removed after the answer.
"""

import socket
import sys
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

ANSWER_BYTES = 65_536


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request(cdr: bytes) -> bytes:
    head = f"POST /cdr HTTP/1.1\r\nhost: bare\r\ncontent-type: application/json\r\ncontent-length: {len(cdr)}\r\n\r\n"
    return head.encode() + cdr


def main(redis_url: str, url: str, source: str, processing: str) -> None:
    redis: Any = Redis.from_url(redis_url, protocol=2, retry=Retry(NoBackoff(), 0))
    endpoint = connect(url)
    print("ready", file=sys.stderr, flush=True)
    while True:
        if cdr := redis.blmove(source, processing, 2, "LEFT", "RIGHT"):
            endpoint.sendall(request(cdr))
            endpoint.recv(ANSWER_BYTES)
            redis.lrem(processing, 1, cdr)


if __name__ == "__main__":
    main(*sys.argv[1:])
